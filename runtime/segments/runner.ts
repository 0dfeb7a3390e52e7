// A deep step on the CPU, segment by segment. In: the cut step, sessions for its kinds of segments, state. Out: one step
// after another. Invariant: the same operators on the same values as in one session; what passes from segment to segment
// lies in one block, where later values take the place of those whose last reader has run.

import type { InferenceSession, Tensor } from 'onnxruntime-node';
import type { StepDescription, StepOutputs, StepRunner } from '../backend.js';
import { END, endedByMarker } from '../end-marker.js';
import { Operands } from '../operands.js';
import type { RunInputs } from '../operands.js';
import { Results } from '../results.js';
import type { Runtime } from '../session.js';
import { runError } from '../session.js';
import { Slots } from '../slots.js';
import type { Slot } from '../slots.js';
import { placeTensors } from './buffers.js';
import type { Parts } from './load.js';
import { inputName, outputName } from './part.js';

/** A place where a segment takes a tensor from, or writes one to. */
interface Place {
  readonly tensors: Record<string, Tensor | null>;
  readonly name: string;
}

interface Call {
  readonly session: InferenceSession;
  readonly feeds: Record<string, Tensor>;
  readonly fetches: Record<string, Tensor | null>;
}

export class SegmentRunner implements StepRunner {
  readonly copiedBytes = 0;
  private readonly operands: Operands;
  private readonly results: Results;
  private readonly slots: Slots;
  /** Made when the first step runs: what passes between segments is memory of the step. */
  private calls: Call[] | undefined;
  /** By name of a value of the step: where segments read or write it. */
  private readonly places = new Map<string, Place[]>();

  constructor(
    private readonly runtime: Runtime,
    private readonly step: StepDescription,
    private readonly parts: Parts,
  ) {
    this.operands = new Operands(runtime, step.plan);
    this.results = new Results(runtime, step.plan);
    this.slots = new Slots(runtime, step);
  }

  async run(inputs: RunInputs): Promise<StepOutputs> {
    this.operands.set(inputs);
    this.results.clear();
    this.calls ??= this.prepare();
    for (const [name, tensor] of Object.entries(this.operands.feeds)) this.put(name, tensor);
    for (const { session, feeds, fetches } of this.calls)
      try {
        await session.run(feeds, fetches);
      } catch (error) {
        if (!endedByMarker(error)) throw runError(this.step.path, error);
      }
    for (const slot of this.slots.swap()) this.bind(slot);
    return this.results.values();
  }

  download(): Promise<void> {
    return Promise.resolve();
  }

  state(name: string): Float32Array {
    return this.slots.state(name);
  }

  async dispose(): Promise<void> {
    for (const session of this.parts.sessions) await session.release();
  }

  private put(name: string, tensor: Tensor): void {
    for (const { tensors, name: at } of this.places.get(name) ?? []) tensors[at] = tensor;
  }

  private bind({ input, output, current, next }: Slot): void {
    this.put(input, current);
    this.put(output, next);
  }

  private prepare(): Call[] {
    const passing = placeTensors(this.runtime, this.parts.passing);
    const tensor = (name: string): Tensor | undefined =>
      passing.get(name) ?? this.parts.constants.get(name);
    const calls = this.parts.list.map(({ session, inputs, outputs }): Call => {
      const call: Call = { session, feeds: {}, fetches: { [END]: null } };
      inputs.forEach((name, i) => {
        this.enter(name, call.feeds, inputName(i), tensor(name));
      });
      outputs.forEach((name, i) => {
        if (name !== undefined) this.enter(name, call.fetches, outputName(i), tensor(name));
      });
      return call;
    });
    for (const slot of this.slots) this.bind(slot);
    for (const [name, result] of Object.entries(this.results.tensors)) this.put(name, result);
    return calls;
  }

  private enter(
    value: string,
    tensors: Record<string, Tensor | null>,
    name: string,
    tensor: Tensor | undefined,
  ): void {
    if (tensor) {
      tensors[name] = tensor;
      return;
    }
    const places = this.places.get(value);
    if (places) places.push({ tensors, name });
    else this.places.set(value, [{ tensors, name }]);
  }
}
