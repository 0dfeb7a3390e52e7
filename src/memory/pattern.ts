// ONNX Runtime's memory pattern: one block of memory for all tensors of a run, laid out from what the run before it
// asked for. In: a simulated execution. Out: the size of that block. Invariant: as the pattern's planner has it: in the
// order of execution each tensor goes into the smallest gap that it fits into, the lowest of equal ones, or else behind
// the last tensor that is alive. What lies between that one and the end of the block so far is a gap as well.

import type { Value } from '../ir/index.js';
import type { Buffer, Execution } from './executor.js';

const ALIGNMENT = 256;

interface Gap {
  readonly start: number;
  readonly end: number;
}

export class Layout {
  /** Between tensors that are alive, by address; none touches another. */
  private readonly gaps: Gap[] = [];
  /** Where the last tensor ends. */
  private top = 0;
  private highest = 0;

  /** The most bytes the block has had to have so far. */
  get bytes(): number {
    return this.highest;
  }

  /** Gives a tensor its place. */
  place(bytes: number): Gap {
    const size = Math.ceil(bytes / ALIGNMENT) * ALIGNMENT;
    let best = -1;
    let waste = Infinity;
    this.gaps.forEach(({ start, end }, index) => {
      const left = end - start - size;
      if (left < 0 || left >= waste) return;
      best = index;
      waste = left;
    });
    const gap = this.gaps[best];
    const left = this.highest - this.top - size;
    if (!gap || (left >= 0 && left < waste)) {
      const start = this.top;
      this.top += size;
      this.highest = Math.max(this.highest, this.top);
      return { start, end: this.top };
    }
    const end = gap.start + size;
    this.gaps.splice(best, 1, ...(waste > 0 ? [{ start: end, end: gap.end }] : []));
    return { start: gap.start, end };
  }

  /** Frees what place() gave. */
  free({ start, end }: Gap): void {
    let low = 0;
    let high = this.gaps.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      if ((this.gaps[middle]?.start ?? 0) < start) low = middle + 1;
      else high = middle;
    }
    const before = this.gaps[low - 1];
    const after = this.gaps[low];
    const joinsBefore = before?.end === start;
    const joinsAfter = after?.start === end;
    const joined: Gap = {
      start: joinsBefore ? before.start : start,
      end: joinsAfter ? after.end : end,
    };
    const first = joinsBefore ? low - 1 : low;
    const count = Number(joinsBefore) + Number(joinsAfter);
    if (joined.end === this.top) {
      this.gaps.splice(first, count);
      this.top = joined.start;
    } else this.gaps.splice(first, count, joined);
  }
}

const AS_SIMULATED: ReadonlyMap<Value | undefined, number> = new Map();
const known = new WeakMap<Execution, number>();

/**
 * Size of the block of a step.
 * @param sizes of values whose memory shall have another size than the simulation says
 */
export function layOut(execution: Execution, sizes = AS_SIMULATED): number {
  if (sizes !== AS_SIMULATED) return blockOf(execution, sizes);
  const bytes = known.get(execution) ?? blockOf(execution, sizes);
  known.set(execution, bytes);
  return bytes;
}

function blockOf({ order, buffers }: Execution, sizes: typeof AS_SIMULATED): number {
  const allocated: Buffer[][] = order.map(() => []);
  const freed: Buffer[][] = order.map(() => []);
  for (const buffer of buffers) {
    if (buffer.bytes === 0) continue;
    allocated[buffer.first]?.push(buffer);
    freed[buffer.last]?.push(buffer);
  }
  const layout = new Layout();
  const places = new Map<Buffer, Gap>();
  order.forEach((_, now) => {
    for (const buffer of allocated[now] ?? [])
      places.set(buffer, layout.place(sizes.get(buffer.values[0]) ?? buffer.bytes));
    for (const buffer of freed[now] ?? []) {
      const place = places.get(buffer);
      if (place) layout.free(place);
      places.delete(buffer);
    }
  });
  return layout.bytes;
}
