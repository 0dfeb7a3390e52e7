// Where a training step runs. In: the step graph, its plan and initial state. Out: something that runs one step
// after another and holds the state in between. Invariant: one step reads the state of the step before, and
// nothing outside the runner holds the tensors a step works on.

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { InferenceSession, Tensor } from 'onnxruntime-node';
import type { Plan } from '../src/plan/index.js';
import { DiagnosticError } from '../src/diagnostics/index.js';
import { END, endedByMarker } from './end-marker.js';
import { collectGarbage } from './memory.js';
import { Operands } from './operands.js';
import type { RunInputs } from './operands.js';
import { touchedZeros } from './parameters.js';
import { stateInputs } from './plan.js';
import { createStepSession, loadRuntime, messageOf } from './session.js';
import type { Runtime, SessionOptions } from './session.js';

export interface StepOutputs {
  /** Mean over the batch. */
  readonly loss: number;
  /** How many of the batch were classified correctly; fractions where a sample has several labels. */
  readonly correct: number;
}

export interface StepDescription {
  /** train.onnx */
  readonly path: string;
  readonly plan: Plan;
  /** By input name; the runner takes the arrays over. */
  readonly state: ReadonlyMap<string, Float32Array>;
  /** Whether new values may be written over the old ones where the plan allows it. */
  readonly inPlace: boolean;
  readonly session: SessionOptions;
}

export interface StepRunner {
  /** What the last run copied on top of what it computed: outputs turned into tensors nobody asked for. */
  readonly copiedBytes: number;
  run(inputs: RunInputs): Promise<StepOutputs>;
  /** Brings `state` up to date where it lives on a device. */
  download(): Promise<void>;
  /** The present value of an input that goes from step to step. Overwritten by later steps. */
  state(name: string): Float32Array;
  dispose(): Promise<void>;
}

export interface Backend {
  readonly name: string;
  prepare(step: StepDescription): Promise<StepRunner>;
}

/** ONNX Runtime on the CPU: arrays of this process are read and written where they lie. */
export const cpuBackend: Backend = {
  name: 'cpu',
  prepare: async (step) => {
    const runtime = await loadRuntime();
    return new CpuRunner(runtime, await createStepSession(step.path, step.session), step);
  },
};

/** A copy of this size is worth a garbage collection of a few milliseconds. */
const LARGE_COPY = 16 * 2 ** 20;

interface Slot {
  readonly input: string;
  readonly output: string;
  /** Same tensor twice = in place. */
  current: Tensor;
  next: Tensor;
}

class CpuRunner implements StepRunner {
  private readonly operands: Operands;
  private readonly fetches: Record<string, Tensor | null> = { [END]: null };
  private readonly slots = new Map<string, Slot>();
  /** The slots whose two tensors change places after each step. */
  private readonly swapped: readonly Slot[];
  private readonly loss = new Float32Array(1);
  private readonly correct = new Float32Array(1);
  private readonly stateBytes: number;
  private copied = 0;

  constructor(
    runtime: Runtime,
    private readonly session: InferenceSession,
    private readonly step: StepDescription,
  ) {
    const { plan } = step;
    this.operands = new Operands(runtime, plan);
    const scalar = (data: Float32Array): Tensor => new runtime.Tensor('float32', data, []);
    this.fetches[plan.outputs.loss] = scalar(this.loss);
    this.fetches[plan.outputs.correct] = scalar(this.correct);
    let stateBytes = 0;
    for (const { name, next, shape, inPlace } of stateInputs(plan)) {
      const data = step.state.get(name);
      if (!data) throw new Error(`internal error: ${name} has no initial value`);
      const tensor = (values: Float32Array): Tensor => new runtime.Tensor('float32', values, shape);
      const current = tensor(data);
      const shared = step.inPlace && inPlace === true;
      const slot: Slot = {
        input: name,
        output: next,
        current,
        next: shared ? current : tensor(touchedZeros(data.length)),
      };
      this.slots.set(name, slot);
      this.operands.feeds[name] = slot.current;
      this.fetches[next] = slot.next;
      stateBytes += data.byteLength;
    }
    this.swapped = [...this.slots.values()].filter((slot) => slot.current !== slot.next);
    this.stateBytes = stateBytes;
  }

  get copiedBytes(): number {
    return this.copied;
  }

  async run(inputs: RunInputs): Promise<StepOutputs> {
    const { operands, fetches } = this;
    const { feeds } = operands;
    operands.set(inputs);
    // A step that ends without having written them must not pass for one that has.
    this.loss.fill(NaN);
    this.correct.fill(NaN);
    this.copied = 0;
    try {
      // Normally ended by END, see end-marker.ts. A result is dropped on purpose: it is a copy of what lies in the
      // preallocated tensors.
      await this.session.run(feeds, fetches);
      this.copied = this.stateBytes;
    } catch (error) {
      if (!endedByMarker(error))
        throw new DiagnosticError(
          'train/invalid',
          this.step.path,
          `ONNX Runtime: ${messageOf(error)}`,
        );
    }
    for (const slot of this.swapped) {
      const { current, next } = slot;
      slot.current = next;
      slot.next = current;
      feeds[slot.input] = next;
      fetches[slot.output] = current;
    }
    if (this.copied >= LARGE_COPY) {
      // Left alone, the engine keeps two generations of copies. They can go only after this turn.
      await nextTurn();
      collectGarbage();
    }
    return { loss: this.loss[0] ?? NaN, correct: this.correct[0] ?? NaN };
  }

  download(): Promise<void> {
    return Promise.resolve();
  }

  state(name: string): Float32Array {
    const slot = this.slots.get(name);
    if (!slot) throw new Error(`internal error: ${name} is no state of this step`);
    return slot.current.data as Float32Array;
  }

  async dispose(): Promise<void> {
    await this.session.release();
  }
}
