// How much memory of a GPU a training takes. In: the plan. Out: bytes. Invariant: it is an estimate and called one:
// neither ONNX Runtime nor onnxruntime-node tells how many bytes of the device they have allocated.

import { elementCount } from '../../src/ir/index.js';
import type { Plan } from '../../src/plan/index.js';
import { inputOf, sideInputs, stateInputs } from '../plan.js';
import type { Device } from './provider.js';

export interface DeviceMemory {
  readonly device: Device;
  /** Activations by simulation, the state twice (old and new values), the batch. */
  readonly bytes: number;
  /** Where the figure comes from. */
  readonly source: 'estimate';
}

const ELEMENT_BYTES: Readonly<Record<string, number>> = { int64: 8, bool: 1 };

/** Undefined for the CPU, whose memory is that of the process. */
export function deviceMemory(plan: Plan, device: Device): DeviceMemory | undefined {
  if (device === 'cpu') return undefined;
  const bytesOf = ({ dtype, shape }: { dtype: string; shape: readonly number[] }): number =>
    elementCount(shape) * (ELEMENT_BYTES[dtype] ?? 4);
  const sum = (list: readonly { dtype: string; shape: readonly number[] }[]): number =>
    list.reduce((bytes, input) => bytes + bytesOf(input), 0);
  const batch = [inputOf(plan, 'images'), inputOf(plan, 'labels'), ...sideInputs(plan)];
  const bytes = plan.memory.plan.activationBytes + 2 * sum(stateInputs(plan)) + sum(batch);
  return { device, bytes, source: 'estimate' };
}
