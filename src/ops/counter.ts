// Random bits without state: a pure function of seed, place in the network and place in the tensor. In: two words of
// seed, two words that name the place, a shape. Out: one 32-bit integer per element. Invariant: nothing but wrapping
// int32 addition, multiplication and truncating division, which every executor computes alike, bit for bit.
//
// Drawing one strong hash per element would take a dozen passes over a tensor. Instead each row i and each column j of
// the tensor, seen as a matrix, gets two hashed words, and an element is (a_i + b_j)·c_i + d_j: three passes. Two elements are related only where two of the hashed words are, which is a matter of 2^-32.

import { elementCount } from '../ir/index.js';

const low = (x: number): number => x | 0;

/** Takes the place of a shift, which not every executor has. */
export const DIVISOR = 1 << 16;
/** 2^32 divided by the golden ratio. */
const STRIDE = low(0x9e3779b9);

/** x·(2x + 1), a permutation of the int32 whose upper bits depend on all of x, and not linearly (as in RC6). */
const square = (x: number): number => Math.imul(x, low(2 * x + 1));

/** A hash of 32 bits whose upper bits, those that count, depend on every bit of x. */
function mix(x: number): number {
  const y = square(x);
  return square(low(y + low(y / DIVISOR)));
}

/** Two words for a place, from a name that is unique in the network (FNV-1a, from both ends). */
export function siteOf(name: string): readonly [number, number] {
  let [forward, backward] = [low(0x811c9dc5), low(0x811c9dc5)];
  for (let i = 0; i < name.length; i++) {
    forward = Math.imul(forward ^ name.charCodeAt(i), 0x01000193);
    backward = Math.imul(backward ^ name.charCodeAt(name.length - 1 - i), 0x01000193);
  }
  return [forward, backward];
}

export interface Matrix {
  /** Axes before this one are rows. */
  readonly axis: number;
  readonly rows: number;
  readonly columns: number;
}

/** The tensor as the matrix with the fewest rows and columns together. */
export function asMatrix(dims: readonly number[]): Matrix {
  let best: Matrix | undefined;
  for (let axis = 0; axis <= dims.length; axis++) {
    const [rows, columns] = [elementCount(dims.slice(0, axis)), elementCount(dims.slice(axis))];
    if (!best || rows + columns < best.rows + best.columns) best = { axis, rows, columns };
  }
  return best ?? { axis: 0, rows: 1, columns: 1 };
}

/** A single row or column: its elements are hashed one by one. */
export const isVector = ({ rows, columns }: Matrix): boolean => Math.min(rows, columns) <= 1;

/** Words that have to be hashed: two per row and column, or one per element of a vector. */
export const wordCount = (matrix: Matrix): number =>
  isVector(matrix) ? matrix.rows * matrix.columns : 2 * (matrix.rows + matrix.columns);

/** What word i starts from, before the seed comes in. */
export const startWord = (i: number): number => Math.imul(i + 1, STRIDE);

/** Two words that stand for a seed at a place. */
const keysOf = (seed: ArrayLike<number>, site: ArrayLike<number>): [number, number] => [
  mix(low((seed[0] ?? 0) + (site[0] ?? 0))),
  mix(low((seed[1] ?? 0) + (site[1] ?? 0))),
];

/** One random int32 per element. */
export function randomBits(
  seed: ArrayLike<number>,
  site: ArrayLike<number>,
  dims: readonly number[],
): Int32Array {
  const matrix = asMatrix(dims);
  const { rows, columns } = matrix;
  const [first, second] = keysOf(seed, site);
  const words = Int32Array.from({ length: wordCount(matrix) }, (_, i) =>
    mix(low(mix(low(startWord(i) + first)) + second)),
  );
  if (isVector(matrix)) return words;
  const out = new Int32Array(rows * columns);
  for (let i = 0; i < rows; i++) {
    const [a, c] = [words[i] ?? 0, words[rows + i] ?? 0];
    for (let j = 0; j < columns; j++) {
      const [b, d] = [words[2 * rows + j] ?? 0, words[2 * rows + columns + j] ?? 0];
      out[i * columns + j] = low(Math.imul(low(a + b), c) + d);
    }
  }
  return out;
}

/** Elements below it are kept with this probability. */
export const threshold = (keep: number): number =>
  Math.min(2 ** 31 - 1, Math.round(keep * 2 ** 32) - 2 ** 31);

/** Bits as a number in [0, 1), of 24 digits: exact in float32. */
export const UNIFORM = { divisor: 256, scale: 2 ** -24, shift: 0.5 } as const;
