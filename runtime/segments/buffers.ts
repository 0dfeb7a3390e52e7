// What passes from segment to segment. In: values with their types, the segment that makes each and the last that reads it.
// Out: a tensor for each, in one block of memory. Invariant: values that are needed at the same time do not overlap, and no
// segment writes where it still reads.

import type { Tensor } from 'onnxruntime-node';
import type { SideArray } from '../data/index.js';
import { tensorOf } from '../session.js';
import type { Runtime } from '../session.js';
import type { PartType } from './part.js';

export interface PassingValue extends PartType {
  /** Numbers of the segments that make it and read it last. */
  readonly first: number;
  readonly last: number;
  /** The value it may be written over, if nothing later reads that. */
  readonly over?: string | undefined;
}

const ARRAYS = {
  float32: Float32Array,
  int64: BigInt64Array,
  int32: Int32Array,
  bool: Uint8Array,
} as const;

/** As kernels like their operands. */
const ALIGNMENT = 64;

const countOf = ({ dims }: PartType): number => dims.reduce((n, d) => n * d, 1);

const bytesOf = (type: PartType): number =>
  Math.max(1, Math.ceil((countOf(type) * ARRAYS[type.dtype].BYTES_PER_ELEMENT) / ALIGNMENT)) *
  ALIGNMENT;

const sameShape = (a: PartType | undefined, b: PartType): boolean =>
  a?.dtype === b.dtype && a.dims.join() === b.dims.join();

interface Hole {
  readonly from: number;
  readonly to: number;
}

/** Places in a block: each value takes that of what it is written over, or the smallest hole it fits in. @returns by value, and the size of the block */
export function placeValues(values: ReadonlyMap<string, PassingValue>): {
  readonly offsets: ReadonlyMap<string, number>;
  readonly bytes: number;
} {
  const offsets = new Map<string, number>();
  const ends = new Map<number, Hole[]>();
  let holes: Hole[] = [];
  let bytes = 0;
  let segment = -1;
  const ordered = [...values].sort(([, a], [, b]) => a.first - b.first || bytesOf(b) - bytesOf(a));
  for (const [name, value] of ordered) {
    for (; segment < value.first; segment++) {
      const freed = ends.get(segment);
      if (freed) holes = merged([...holes, ...freed]);
    }
    const size = bytesOf(value);
    const enter = (taken: Hole): void => {
      offsets.set(name, taken.from);
      const ending = ends.get(value.last);
      if (ending) ending.push(taken);
      else ends.set(value.last, [taken]);
    };
    const below = sameShape(values.get(value.over ?? ''), value)
      ? offsets.get(value.over ?? '')
      : undefined;
    const ending = ends.get(value.first);
    const inherited = ending?.findIndex(({ from, to }) => from === below && to - from === size);
    if (ending && inherited !== undefined && inherited >= 0) {
      const [taken] = ending.splice(inherited, 1);
      if (taken) enter(taken);
      continue;
    }
    const fitting = holes.filter(({ from, to }) => to - from >= size);
    const hole = fitting.reduce<Hole | undefined>(
      (best, one) => (best && best.to - best.from <= one.to - one.from ? best : one),
      undefined,
    );
    const last = holes.at(-1);
    // The last hole may grow.
    const from = hole?.from ?? (last?.to === bytes ? last.from : bytes);
    const taken = { from, to: from + size };
    const rest = hole ?? (last?.to === bytes ? last : undefined);
    holes = holes.filter((one) => one !== rest);
    if (rest && rest.to > taken.to) holes = merged([...holes, { from: taken.to, to: rest.to }]);
    bytes = Math.max(bytes, taken.to);
    enter(taken);
  }
  return { offsets, bytes };
}

/** In order, neighbours as one. */
function merged(holes: readonly Hole[]): Hole[] {
  const all: Hole[] = [];
  for (const hole of [...holes].sort((a, b) => a.from - b.from)) {
    const before = all.at(-1);
    if (before?.to === hole.from) all[all.length - 1] = { from: before.from, to: hole.to };
    else all.push(hole);
  }
  return all;
}

/** A tensor for each value. */
export function placeTensors(
  runtime: Runtime,
  values: ReadonlyMap<string, PassingValue>,
): Map<string, Tensor> {
  const { offsets, bytes } = placeValues(values);
  const block = new ArrayBuffer(bytes);
  const tensors = new Map<string, Tensor>();
  for (const [name, value] of values)
    tensors.set(name, tensorIn(runtime, value, block, offsets.get(name) ?? 0));
  return tensors;
}

function tensorIn(runtime: Runtime, type: PartType, block: ArrayBuffer, offset: number): Tensor {
  const array: SideArray = new ARRAYS[type.dtype](block, offset, countOf(type));
  return tensorOf(runtime, array, type.dims);
}

/** Zeros of a type. */
export const zerosOf = (runtime: Runtime, type: PartType): Tensor =>
  tensorIn(runtime, type, new ArrayBuffer(bytesOf(type)), 0);
