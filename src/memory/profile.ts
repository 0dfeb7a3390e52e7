// Live memory over the course of a step. In: a simulated execution. Out: the sum of live buffers at every node, the
// peak and what it is made of. Invariant: at every node its operands and its results are both live.

import { number } from '../ir/index.js';
import type { Node, Value } from '../ir/index.js';
import type { BufferCategory, PlanMemory } from '../plan/index.js';
import type { Execution } from './executor.js';
import { isView } from './kernels.js';
import { workspaceBytes } from './workspace.js';

export interface Profile extends Omit<PlanMemory, 'allocator' | 'graphOptimization'> {
  /** Live bytes (workspace included) while each node of the order runs. */
  readonly live: Float64Array;
}

/** @param category what a value is in the training step */
export function profile(execution: Execution, category: (value: Value) => BufferCategory): Profile {
  const { order, buffers } = execution;
  const change = new Float64Array(order.length + 2);
  for (const { bytes, first, last } of buffers) {
    change[first] = (change[first] ?? 0) + bytes;
    change[last + 1] = (change[last + 1] ?? 0) - bytes;
  }
  const live = new Float64Array(order.length);
  let sum = 0;
  let activationBytes = 0;
  let peakBytes = 0;
  let peakAt = 0;
  order.forEach((node, index) => {
    sum += change[index] ?? 0;
    activationBytes = Math.max(activationBytes, sum);
    live[index] = sum + workspaceBytes(node);
    if (live[index] > peakBytes) {
      peakBytes = live[index];
      peakAt = index;
    }
  });
  const byCategory: Partial<Record<BufferCategory, number>> = {};
  number(order);
  for (const { bytes, first, last, values } of buffers) {
    if (first > peakAt || peakAt > last) continue;
    // What lies in it at that moment; a view is what it is a view of.
    const present = values.findLast(
      ({ producer }) => producer && !isView(producer) && producer.place <= peakAt,
    );
    const key = present && category(present);
    if (key) byCategory[key] = (byCategory[key] ?? 0) + bytes;
  }
  const peak: Node | undefined = order[peakAt];
  if (peak && workspaceBytes(peak) > 0) byCategory.workspace = workspaceBytes(peak);
  return { live, peakBytes, activationBytes, peakNode: peak?.name ?? '', byCategory };
}
