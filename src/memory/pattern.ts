// ONNX Runtime's memory pattern: one block of memory for all tensors of a run, laid out from what the run before it
// asked for. In: a simulated execution. Out: the size of that block. Invariant: as the pattern's planner has it: in the
// order of execution each tensor goes into the smallest gap that it fits into, the lowest of equal ones, or else behind
// the last tensor that is alive. What lies between that one and the end of the block so far is a gap as well.

import type { Value } from '../ir/index.js';
import type { Execution } from './executor.js';

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

/** What is known of executions that were laid out before. */
const blocks = new WeakMap<Execution, number>();
const courses = new WeakMap<Execution, Int32Array>();

function remembered<T>(known: WeakMap<Execution, T>, execution: Execution, make: () => T): T {
  const value = known.get(execution) ?? make();
  known.set(execution, value);
  return value;
}

/**
 * Size of the block of a step.
 * @param sizes of values whose memory shall have another size than the simulation says
 */
export function layOut(execution: Execution, sizes = AS_SIMULATED): number {
  const course = remembered(courses, execution, () => courseOf(execution));
  const block = (): number => blockOf(execution, course, sizes);
  return sizes === AS_SIMULATED ? remembered(blocks, execution, block) : block();
}

/** The buffers by their places in the list, in the order they are allocated (i) and freed (~i) in. */
function courseOf({ order, buffers }: Execution): Int32Array {
  // Two moments per node: results get their memory before it runs, operands lose theirs afterwards.
  const before = new Int32Array(2 * order.length + 2);
  const count = (moment: number): number => (before[moment + 1] = (before[moment + 1] ?? 0) + 1);
  const events = buffers.flatMap(({ bytes, first, last }, index) => {
    if (bytes === 0) return [];
    const made = { moment: 2 * first, entry: index };
    // What is never given back has an end that no node has.
    return last < order.length ? [made, { moment: 2 * last + 1, entry: ~index }] : [made];
  });
  for (const { moment } of events) count(moment);
  for (let moment = 1; moment < before.length; moment++)
    before[moment] = (before[moment] ?? 0) + (before[moment - 1] ?? 0);
  const course = new Int32Array(events.length);
  for (const { moment, entry } of events) {
    const at = before[moment] ?? 0;
    course[at] = entry;
    before[moment] = at + 1;
  }
  return course;
}

function blockOf({ buffers }: Execution, course: Int32Array, sizes: typeof AS_SIMULATED): number {
  const layout = new Layout();
  const places: (Gap | undefined)[] = [];
  for (const entry of course) {
    const index = entry < 0 ? ~entry : entry;
    const buffer = buffers[index];
    const place = places[index];
    if (entry < 0 && place) layout.free(place);
    else if (buffer)
      places[index] = layout.place(
        (sizes.size > 0 ? sizes.get(buffer.values[0]) : undefined) ?? buffer.bytes,
      );
  }
  return layout.bytes;
}

/** The same execution where some values are of another size. */
export const resized = (
  { order, buffers }: Execution,
  sizes: ReadonlyMap<Value | undefined, number>,
): Execution => ({
  order,
  buffers: buffers.map((buffer) => ({
    ...buffer,
    bytes: sizes.get(buffer.values[0]) ?? buffer.bytes,
  })),
});
