// Where a training step runs. In: the step graph, its plan and initial state. Out: something that runs one step
// after another and holds the state in between. Invariant: one step reads the state of the step before, and
// nothing outside the runner holds the tensors a step works on.

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { InferenceSession, Tensor } from 'onnxruntime-node';
import { isSegmented } from '../src/plan/index.js';
import type { Plan } from '../src/plan/index.js';
import { END, endedByMarker } from './end-marker.js';
import { collectGarbage } from './memory.js';
import { Operands } from './operands.js';
import type { RunInputs } from './operands.js';
import { Results } from './results.js';
import { SegmentRunner, loadSegments } from './segments/index.js';
import { createStepSession, loadRuntime, runError } from './session.js';
import type { Runtime, SessionOptions } from './session.js';
import { Slots } from './slots.js';
import type { Slot } from './slots.js';

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

/** The whole step in one session. Arrays of this process are read and written where they lie. */
export const wholeBackend: Backend = {
  name: 'whole',
  prepare: async (step) => {
    const runtime = await loadRuntime();
    return new CpuRunner(runtime, await createStepSession(step.path, step.session), step);
  },
};

/** Segment by segment, where the step can be cut. */
export const segmentBackend: Backend = {
  name: 'segments',
  prepare: async (step) => {
    const runtime = await loadRuntime();
    const parts = await loadSegments(runtime, step);
    return parts ? new SegmentRunner(runtime, step, parts) : wholeBackend.prepare(step);
  },
};

/** ONNX Runtime on the CPU: a very deep step, which its graph optimizer is not to touch, segment by segment. */
export const cpuBackend: Backend = {
  name: 'cpu',
  prepare: (step) => {
    const nodes = step.plan.steps.reduce((sum, stretch) => sum + stretch.nodes, 0);
    const isCut = step.session.optimize === false && isSegmented(nodes);
    return (isCut ? segmentBackend : wholeBackend).prepare(step);
  },
};

/** A copy of this size is worth a garbage collection of a few milliseconds. */
const LARGE_COPY = 16 * 2 ** 20;

class CpuRunner implements StepRunner {
  private readonly operands: Operands;
  private readonly fetches: Record<string, Tensor | null> = { [END]: null };
  private readonly slots: Slots;
  private readonly results: Results;
  private copied = 0;

  constructor(
    runtime: Runtime,
    private readonly session: InferenceSession,
    private readonly step: StepDescription,
  ) {
    this.operands = new Operands(runtime, step.plan);
    this.results = new Results(runtime, step.plan);
    this.slots = new Slots(runtime, step);
    Object.assign(this.fetches, this.results.tensors);
    for (const slot of this.slots) this.bind(slot);
  }

  private bind({ input, output, current, next }: Slot): void {
    this.operands.feeds[input] = current;
    this.fetches[output] = next;
  }

  get copiedBytes(): number {
    return this.copied;
  }

  async run(inputs: RunInputs): Promise<StepOutputs> {
    this.operands.set(inputs);
    this.results.clear();
    this.copied = 0;
    try {
      // Normally ended by END, see end-marker.ts. A result is dropped on purpose: it is a copy of what lies in the
      // preallocated tensors.
      await this.session.run(this.operands.feeds, this.fetches);
      this.copied = this.slots.bytes;
    } catch (error) {
      if (!endedByMarker(error)) throw runError(this.step.path, error);
    }
    for (const slot of this.slots.swap()) this.bind(slot);
    if (this.copied >= LARGE_COPY) {
      // Left alone, the engine keeps two generations of copies. They can go only after this turn.
      await nextTurn();
      collectGarbage();
    }
    return this.results.values();
  }

  download(): Promise<void> {
    return Promise.resolve();
  }

  state(name: string): Float32Array {
    return this.slots.state(name);
  }

  async dispose(): Promise<void> {
    await this.session.release();
  }
}
