// The state of a step on the CPU: weights, the optimizer's tensors, statistics. In: the plan and initial values. Out: for
// each the tensor that a run reads and the one it writes. Invariant: nothing is copied between two runs; where new values
// may not be written over the old ones, the two tensors change places.

import type { Tensor } from 'onnxruntime-node';
import type { StepDescription } from './backend.js';
import { touchedZeros } from './parameters.js';
import { stateInputs } from './plan.js';
import type { Runtime } from './session.js';

export interface Slot {
  readonly input: string;
  readonly output: string;
  /** Same tensor twice = in place. */
  current: Tensor;
  next: Tensor;
}

export class Slots {
  /** By input name. */
  private readonly slots = new Map<string, Slot>();
  /** Of all tensors together, each counted once. */
  readonly bytes: number;

  constructor({ Tensor }: Runtime, { plan, state, inPlace: allowed }: StepDescription) {
    let bytes = 0;
    for (const { name, next, shape, inPlace } of stateInputs(plan)) {
      const data = state.get(name);
      if (!data) throw new Error(`internal error: ${name} has no initial value`);
      const tensor = (values: Float32Array): Tensor => new Tensor('float32', values, shape);
      const current = tensor(data);
      const shared = allowed && inPlace === true;
      this.slots.set(name, {
        input: name,
        output: next,
        current,
        next: shared ? current : tensor(touchedZeros(data.length)),
      });
      bytes += data.byteLength;
    }
    this.bytes = bytes;
  }

  [Symbol.iterator](): Iterator<Slot> {
    return this.slots.values();
  }

  /** What was written becomes what is read. @returns the slots whose tensors have changed places */
  swap(): Slot[] {
    const swapped = [...this].filter(({ current, next }) => current !== next);
    for (const slot of swapped) [slot.current, slot.next] = [slot.next, slot.current];
    return swapped;
  }

  /** The present value of an input. Overwritten by later steps. */
  state(name: string): Float32Array {
    const slot = this.slots.get(name);
    if (!slot) throw new Error(`internal error: ${name} is no state of this step`);
    return slot.current.data as Float32Array;
  }
}
