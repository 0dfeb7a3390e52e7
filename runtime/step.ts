// One training step after another. In: a compiled folder and batches. Out: loss and number of correct answers per
// step, and the weights as they are. Invariant: a loss that is no finite number ends the training with an error
// that names the step.

import { join } from 'node:path';
import { DiagnosticError } from '../src/diagnostics/index.js';
import type { InputRole, Plan } from '../src/plan/index.js';
import type { Backend, StepOutputs, StepRunner } from './backend.js';
import { backendOf, requireBlock } from './device/index.js';
import { firstUnits, isFinite, unitsOfWeights } from './diagnose.js';
import type { SideArray } from './data/index.js';
import { completeSettings, scalarsOf } from './optimizer.js';
import type { OptimizerSettings } from './optimizer.js';
import { initialState } from './parameters.js';
import { stateInputs } from './plan.js';
import type { SessionOptions } from './session.js';

/** One batch and the settings of its step. */
export interface StepInputs extends OptimizerSettings {
  /** As the plan's input of that role: batch × channels × height × width, already normalised, or token numbers. */
  readonly images: Float32Array | BigInt64Array;
  /** Labels, or the float targets of a squared error: in the shape of the plan's input. */
  readonly labels: BigInt64Array | Float32Array;
  /** By name, what the network takes beside the images: see the plan's inputs with the role `side`. */
  readonly sides?: Readonly<Record<string, SideArray>>;
  readonly learningRate: number;
}

export interface StepOptions extends SessionOptions {
  /** Write new weights over the old ones where the plan allows it. Default true. */
  readonly inPlace?: boolean;
  /** What runs the step. Default: ONNX Runtime on `device`, or else on the CPU. */
  readonly backend?: Backend;
  /** By input name; taken over. Default: weights of rev.onnx, 0 for the optimizer's. */
  readonly state?: ReadonlyMap<string, Float32Array>;
  /** Steps that led to the state. Default 0. */
  readonly steps?: number;
  /** Of dropout: masks follow from it and from how many batches have been run. Its low 32 bits count. Default 0. */
  readonly seed?: number;
}

/**
 * A training step ready to run.
 *
 *     const { plan } = readPlan(dir);
 *     const step = await TrainingStep.open(dir, plan);
 *     const { loss } = await step.run({ images, labels, learningRate: 0.1 });
 */
export class TrainingStep {
  /** Batches of the present update that have been run. */
  private part = 0;

  private constructor(
    private readonly dir: string,
    readonly plan: Plan,
    private readonly runner: StepRunner,
    private done: number,
    private readonly seed: number,
  ) {}

  /** @throws DiagnosticError train/invalid, runtime/missing, model/… where rev.onnx cannot be read */
  static async open(dir: string, plan: Plan, options: StepOptions = {}): Promise<TrainingStep> {
    const { inPlace = true, steps = 0, seed = 0, ...others } = options;
    const { backend = backendOf(options.device ?? 'cpu'), ...rest } = others;
    const { state = initialState(dir, plan), ...given } = rest;
    await requireBlock(plan);
    const { graphOptimization, allocator } = plan.memory.plan;
    const session = { optimize: graphOptimization === 'all', allocator, ...given };
    const path = join(dir, plan.model.train);
    const runner = await backend.prepare({ path, plan, state, inPlace, session });
    return new TrainingStep(dir, plan, runner, steps, seed);
  }

  /** What the last step's outputs were copied for nothing; see StepRunner. */
  get copiedBytes(): number {
    return this.runner.copiedBytes;
  }

  /** Steps that led to the present state. */
  get steps(): number {
    return this.done;
  }

  /** Batches whose gradients are added up before the weights change. */
  get accumulate(): number {
    return this.plan.assumptions.accumulate;
  }

  /**
   * Runs the step on one batch; the last of `accumulate` batches changes the weights, and counts as a step. The arrays
   * are read where they lie and may be refilled afterwards.
   * @throws DiagnosticError train/diverged; the weights are then of no use
   */
  async run(inputs: StepInputs): Promise<StepOutputs> {
    const { images, labels, sides = {}, learningRate, ...given } = inputs;
    const { optimizer } = this.plan.assumptions;
    const settings = { ...completeSettings(optimizer, given), learningRate };
    const position = { update: this.done + 1, part: this.part, parts: this.accumulate };
    const scalars = scalarsOf(optimizer, settings, position);
    // Batches run so far: the same for a training that was cut off and continued.
    const batches = this.done * this.accumulate + this.part;
    const words = [this.seed | 0, batches | 0] as const;
    const result = await this.runner.run({ images, labels, sides, seed: words, scalars });
    this.part = (this.part + 1) % this.accumulate;
    if (this.part === 0) this.done++;
    if (!Number.isFinite(result.loss)) {
      await this.download();
      const units = this.firstUnits();
      throw new DiagnosticError(
        'train/diverged',
        place(position.update, units),
        `the loss is ${result.loss} at learning rate ${learningRate}; ` +
          `the first values that are not finite come from ${described(units)}`,
      );
    }
    return result;
  }

  /**
   * Makes sure that the present state can be trained on and written.
   * @throws DiagnosticError train/diverged that names the block
   */
  async checkFinite(): Promise<void> {
    await this.download();
    const bad = stateInputs(this.plan).find(({ name }) => !isFinite(this.state(name)));
    if (!bad) return;
    const own = unitsOfWeights(this.dir, this.plan).get(bad.weight ?? bad.name);
    const units = own === undefined ? this.firstUnits() : [own];
    throw new DiagnosticError(
      'train/diverged',
      place(this.done, units),
      `after it ${bad.name} is not finite`,
    );
  }

  /** Brings weights, the optimizer's tensors and statistics up to date; nothing to do on the CPU. */
  download(): Promise<void> {
    return this.runner.download();
  }

  /** Present weights by name. The arrays are the live ones: later steps change them. */
  weights(): Map<string, Float32Array> {
    return this.collect('weight');
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

  private firstUnits(): string[] {
    return firstUnits(this.dir, this.plan, (name) => this.state(name));
  }

  private collect(role: InputRole): Map<string, Float32Array> {
    return new Map(
      stateInputs(this.plan)
        .filter((input) => input.role === role)
        .map(({ name }) => [name, this.runner.state(name)]),
    );
  }
}

const place = (step: number, units: readonly string[]): string =>
  `step ${step}${units.length === 1 ? `, block ${units.join()}` : ''}`;

function described(units: readonly string[]): string {
  const [first, ...others] = units;
  if (first === undefined) return 'the loss';
  return others.length === 0 ? first : `one of ${units.join(', ')}`;
}
