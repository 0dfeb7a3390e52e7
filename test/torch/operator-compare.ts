// What operators are compared by: cases to PyTorch, values and gradients back. Invariant: shapes must be equal, and
// differences are relative to the largest element.

import { expect } from 'vitest';
import type { Tensor } from '../../src/ir/index.js';
import { askPython } from './python.js';

/** Rounding of float64 sums of some hundred terms, with a margin; a wrong formula costs order 1. */
export const LIMIT = 1e-11;

/** A tensor as Python reads it. */
export const plain = ({ dtype, dims, data }: Tensor): object => ({
  dtype,
  dims,
  data: Array.from(data),
});

interface Flat {
  readonly dims: readonly number[];
  readonly data: readonly number[];
}

export interface Answer {
  readonly results: readonly Flat[];
  readonly gradients: readonly Flat[];
}

/** Largest difference, relative to the largest element or 1: operands are of order 1, and some gradients truly 0. */
function distance(ours: Float64Array, theirs: readonly number[]): number {
  const scale = theirs.reduce((most, v) => Math.max(most, Math.abs(v)), 1);
  return ours.reduce((worst, v, i) => {
    const error = Math.abs(v - (theirs[i] ?? NaN)) / scale;
    return Number.isNaN(error) ? Infinity : Math.max(worst, error);
  }, 0);
}

export function expectEqual(
  ours: readonly Tensor[],
  theirs: readonly Flat[],
  limit: number,
  what: string,
): void {
  expect(theirs.length, what).toBe(ours.length);
  ours.forEach((tensor, i) => {
    const { dims, data } = theirs[i] ?? { dims: [], data: [] };
    expect(tensor.dims, `${what} ${i}: shape`).toEqual(dims);
    expect(distance(tensor.data, data), `${what} ${i}`).toBeLessThan(limit);
  });
}

/** PyTorch's answer to each case; see operators_reference.py. */
export const askOperators = (cases: readonly object[]): readonly Answer[] =>
  askPython('operators_reference.py', { cases }) as readonly Answer[];
