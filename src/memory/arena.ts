// ONNX Runtime's arena, from which the CPU executor takes its memory. In: a simulated execution. Out: how much the
// arena has asked of the system in the end, and how much of that was ever written to: what the process shows as
// resident. Invariant: best fit with coalescing, as the arena's defaults have it: regions double in size, chunks are
// split only where at least half is left, and nothing is given back before the session ends.

import type { Node } from '../ir/index.js';
import type { Buffer, Execution } from './executor.js';

const MEBIBYTE = 1024 * 1024;
const FIRST_REGION = MEBIBYTE;
const LARGEST_REGION = 1024 * MEBIBYTE;
const ALIGNMENT = 256;
/** A remainder of this size is split off whatever the request. */
const LARGE_REMAINDER = 128 * MEBIBYTE;

interface Chunk {
  readonly start: number;
  size: number;
  isFree: boolean;
  /** Neighbours in the same region. */
  before: Chunk | undefined;
  after: Chunk | undefined;
}

const binOf = (size: number): number => Math.max(0, Math.floor(Math.log2(size / ALIGNMENT)));

export class Arena {
  private held = 0;
  private nextRegion = FIRST_REGION;
  /** Free chunks by power of two, each bin by size, then by address. */
  private readonly bins: Chunk[][] = [];

  /** Bytes asked of the system so far. */
  get heldBytes(): number {
    return this.held;
  }

  allocate(bytes: number): Chunk {
    const size = Math.max(1, Math.ceil(bytes / ALIGNMENT)) * ALIGNMENT;
    const chunk = this.find(size) ?? this.extend(size);
    this.remove(chunk);
    if (chunk.size >= 2 * size || chunk.size - size >= LARGE_REMAINDER) this.split(chunk, size);
    chunk.isFree = false;
    return chunk;
  }

  free(chunk: Chunk): void {
    let whole = chunk;
    chunk.isFree = true;
    if (chunk.after?.isFree === true) {
      this.remove(chunk.after);
      join(chunk, chunk.after);
    }
    if (chunk.before?.isFree === true) {
      whole = chunk.before;
      this.remove(whole);
      join(whole, chunk);
    }
    this.insert(whole);
  }

  private find(size: number): Chunk | undefined {
    for (let bin = binOf(size); bin < this.bins.length; bin++) {
      const found = this.bins[bin]?.find((chunk) => chunk.size >= size);
      if (found) return found;
    }
    return undefined;
  }

  private extend(size: number): Chunk {
    const isEnough = this.nextRegion >= size;
    while (this.nextRegion < size && this.nextRegion < LARGEST_REGION) this.nextRegion *= 2;
    const bytes = Math.max(size, this.nextRegion);
    if (isEnough && this.nextRegion < LARGEST_REGION) this.nextRegion *= 2;
    const chunk: Chunk = {
      start: this.held,
      size: bytes,
      isFree: true,
      before: undefined,
      after: undefined,
    };
    this.held += bytes;
    this.insert(chunk);
    return chunk;
  }

  private split(chunk: Chunk, size: number): void {
    const rest: Chunk = {
      start: chunk.start + size,
      size: chunk.size - size,
      isFree: true,
      before: chunk,
      after: chunk.after,
    };
    if (chunk.after) chunk.after.before = rest;
    chunk.after = rest;
    chunk.size = size;
    this.insert(rest);
  }

  private insert(chunk: Chunk): void {
    const index = binOf(chunk.size);
    while (this.bins.length <= index) this.bins.push([]);
    const bin = this.bins[index] ?? [];
    const at = bin.findIndex(
      (other) =>
        other.size > chunk.size || (other.size === chunk.size && other.start > chunk.start),
    );
    bin.splice(at < 0 ? bin.length : at, 0, chunk);
  }

  private remove(chunk: Chunk): void {
    const bin = this.bins[binOf(chunk.size)];
    const at = bin?.indexOf(chunk) ?? -1;
    if (at >= 0) bin?.splice(at, 1);
  }
}

function join(first: Chunk, second: Chunk): void {
  first.size += second.size;
  first.after = second.after;
  if (second.after) second.after.before = first;
}

export interface ArenaUse {
  /** Asked of the system. */
  readonly heldBytes: number;
  /** The part of it that has been in use at some time. */
  readonly residentBytes: number;
}

/** The arena after one step. @param workspace what the kernel of a node takes while it runs */
export function arenaUse(
  { order, buffers }: Execution,
  workspace: (node: Node) => number,
): ArenaUse {
  const allocated: Buffer[][] = order.map(() => []);
  const freed: Buffer[][] = order.map(() => []);
  for (const buffer of buffers) {
    if (buffer.bytes === 0) continue;
    allocated[buffer.first]?.push(buffer);
    freed[buffer.last]?.push(buffer);
  }
  const arena = new Arena();
  const chunks = new Map<Buffer, Chunk>();
  const used: { start: number; end: number }[] = [];
  const take = (bytes: number): Chunk => {
    const chunk = arena.allocate(bytes);
    used.push({ start: chunk.start, end: chunk.start + bytes });
    return chunk;
  };
  order.forEach((node, now) => {
    for (const buffer of allocated[now] ?? []) chunks.set(buffer, take(buffer.bytes));
    const scratch = workspace(node);
    if (scratch > 0) arena.free(take(scratch));
    for (const buffer of freed[now] ?? []) {
      const chunk = chunks.get(buffer);
      if (chunk) arena.free(chunk);
      chunks.delete(buffer);
    }
  });
  return { heldBytes: arena.heldBytes, residentBytes: unionLength(used) };
}

function unionLength(intervals: { start: number; end: number }[]): number {
  let length = 0;
  let reached = 0;
  for (const { start, end } of intervals.sort((a, b) => a.start - b.start)) {
    length += Math.max(0, end - Math.max(start, reached));
    reached = Math.max(reached, end);
  }
  return length;
}
