// One training step after another. In: a compiled folder and batches. Out: loss and number of correct answers per
// step, and the weights as they are. Invariant: a loss that is no finite number ends the training with an error
// that names the step.

import { join } from 'node:path';
import { DiagnosticError } from '../src/diagnostics/index.js';
import type { InputRole, Plan } from '../src/plan/index.js';
import { cpuBackend } from './backend.js';
import type { Backend, StepInputs, StepOutputs, StepRunner } from './backend.js';
import { initialState } from './parameters.js';
import { stateInputs } from './plan.js';
import type { SessionOptions } from './session.js';

export interface StepOptions extends SessionOptions {
  /** Write new weights over the old ones where the plan allows it. Default true. */
  readonly inPlace?: boolean;
  /** Default: ONNX Runtime on the CPU. */
  readonly backend?: Backend;
  /** By input name; taken over. Default: weights of rev.onnx, velocities 0. */
  readonly state?: ReadonlyMap<string, Float32Array>;
  /** Steps that led to the state. Default 0. */
  readonly steps?: number;
}

/**
 * A training step ready to run.
 *
 *     const { plan } = readPlan(dir);
 *     const step = await TrainingStep.open(dir, plan);
 *     const { loss } = await step.run({ images, labels, learningRate: 0.1, momentum: 0.9, weightDecay: 5e-4 });
 */
export class TrainingStep {
  private constructor(
    readonly plan: Plan,
    private readonly runner: StepRunner,
    private done: number,
  ) {}

  /** @throws DiagnosticError train/invalid, runtime/missing, model/… where rev.onnx cannot be read */
  static async open(dir: string, plan: Plan, options: StepOptions = {}): Promise<TrainingStep> {
    const { inPlace = true, backend = cpuBackend, steps = 0, ...rest } = options;
    const { state = initialState(dir, plan), ...session } = rest;
    const path = join(dir, plan.model.train);
    const runner = await backend.prepare({ path, plan, state, inPlace, session });
    return new TrainingStep(plan, runner, steps);
  }

  /** What the last step's outputs were copied for nothing; see StepRunner. */
  get copiedBytes(): number {
    return this.runner.copiedBytes;
  }

  /** Steps that led to the present state. */
  get steps(): number {
    return this.done;
  }

  /**
   * Runs one step. The arrays are read where they lie and may be refilled afterwards.
   * @throws DiagnosticError train/diverged; the weights are then of no use
   */
  async run(inputs: StepInputs): Promise<StepOutputs> {
    const result = await this.runner.run(inputs);
    this.done++;
    if (!Number.isFinite(result.loss))
      throw new DiagnosticError(
        'train/diverged',
        `step ${this.done}`,
        `the loss is ${result.loss} at learning rate ${inputs.learningRate}`,
      );
    return result;
  }

  /** Brings weights, velocities and statistics up to date; nothing to do on the CPU. */
  download(): Promise<void> {
    return this.runner.download();
  }

  /** Present weights by name. The arrays are the live ones: later steps change them. */
  weights(): Map<string, Float32Array> {
    return this.collect('weight');
  }

  /** Momentum, by the name of the step graph's input. Live, as weights(). */
  velocities(): Map<string, Float32Array> {
    return this.collect('velocity');
  }

  /** Running means and variances by name. Live, as weights(). */
  statistics(): Map<string, Float32Array> {
    return this.collect('statistic');
  }

  /** The present value of an input that goes from step to step. Live, as weights(). */
  state(name: string): Float32Array {
    return this.runner.state(name);
  }

  async dispose(): Promise<void> {
    await this.runner.dispose();
  }

  private collect(role: InputRole): Map<string, Float32Array> {
    return new Map(
      stateInputs(this.plan)
        .filter((input) => input.role === role)
        .map(({ name }) => [name, this.runner.state(name)]),
    );
  }
}
