// Memory of a step that is run segment by segment. In: a simulated execution and the cut. Out: the same with buffers held as
// long as the caller of the segments holds them. Invariant: what lives within one segment is as it was.

import type { Buffer, Execution } from './executor.js';

/** @param segments of the nodes of the order */
export function holdAtBorders({ order, buffers }: Execution, segments: Int32Array): Execution {
  const first = new Map<number, number>();
  const last = new Map<number, number>();
  segments.forEach((segment, position) => {
    if (!first.has(segment)) first.set(segment, position);
    last.set(segment, position);
  });
  const at = (position: number): number => segments[Math.min(position, order.length - 1)] ?? 0;
  return {
    order,
    buffers: buffers.map((buffer): Buffer => {
      const [from, to] = [at(buffer.first), at(buffer.last)];
      if (from === to) return buffer;
      // Prepared when the segment that makes it begins, and free when the last that reads it has ended.
      return {
        ...buffer,
        first: first.get(from) ?? buffer.first,
        last: Math.max(buffer.last, last.get(to) ?? 0),
      };
    }),
  };
}
