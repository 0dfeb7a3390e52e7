// What the table of operators is made of: random operands, shapes and attributes. Invariant: everything is drawn by
// fast-check from a fixed seed, so the same cases are compared on every run.

import fc from 'fast-check';
import { Attributes, Tensor, float, int, ints, string } from '../../src/ir/index.js';
import type { Attribute } from '../../src/ir/index.js';
import { Random } from '../../src/ops/index.js';

type Plain = number | string | readonly number[];

export interface TorchCase {
  readonly inputs: readonly (Tensor | undefined)[];
  /** As PyTorch gets them; numbers with a fraction are floats. */
  readonly attributes?: Readonly<Record<string, Plain>>;
  /** Those of `attributes` that are floats whatever their value. */
  readonly floats?: readonly string[];
  readonly outputs?: number;
  readonly constants?: readonly number[];
  readonly differentiable?: readonly number[];
}

export interface Line {
  readonly op: string;
  readonly domain?: string;
  /** The same in Python: x are the operands, a the attributes; see operators_reference.py. */
  readonly torch: string;
  readonly cases: fc.Arbitrary<TorchCase>;
  /** Largest difference allowed, where it is not rounding in float64. */
  readonly limit?: number;
}

/** One line of the table. */
export const line = (op: string, torch: string, cases: fc.Arbitrary<TorchCase>): Line => ({
  ...(op.startsWith('revnetify.')
    ? { op: op.slice('revnetify.'.length), domain: 'revnetify' }
    : { op }),
  torch,
  cases,
});

export function attributesOf({ attributes = {}, floats = [] }: TorchCase): Attributes {
  const typed = Object.entries(attributes).map(([name, value]): [string, Attribute] => {
    if (typeof value === 'string') return [name, string(value)];
    if (typeof value !== 'number') return [name, ints(value)];
    return [name, floats.includes(name) ? float(value) : int(value)];
  });
  return new Attributes(typed);
}

// ---- operands

export type Draw = (dims: readonly number[], scale?: number, shift?: number) => Tensor;

/** Cases made by a function that draws operands, from parameters. */
export const cases = <T>(
  parameters: fc.Arbitrary<T>,
  make: (parameters: T, draw: Draw, random: Random) => TorchCase,
): fc.Arbitrary<TorchCase> =>
  fc.tuple(parameters, fc.integer({ min: 1, max: 1 << 30 })).map(([values, seed]) => {
    const random = new Random(seed);
    const draw: Draw = (dims, scale = 1, shift = 0) => random.tensor(dims, scale, shift, 'float64');
    return make(values, draw, random);
  });

/** Positive numbers away from 0. */
export const positive = (tensor: Tensor): Tensor =>
  new Tensor(
    tensor.dtype,
    tensor.dims,
    tensor.data.map((v) => Math.abs(v) + 0.3),
  );

/** Numbers away from 0. */
export const nonzero = (tensor: Tensor): Tensor =>
  new Tensor(
    tensor.dtype,
    tensor.dims,
    tensor.data.map((v) => v + (v < 0 ? -0.3 : 0.3)),
  );

// ---- shapes

const extent = fc.integer({ min: 1, max: 4 });

export const shape = (least = 1, most = 4): fc.Arbitrary<number[]> =>
  fc.array(extent, { minLength: least, maxLength: most });

/** Two or more shapes that can be broadcast with one another. */
export const broadcastShapes = (count: number): fc.Arbitrary<number[][]> =>
  shape(0, 4).chain((whole) =>
    fc.tuple(
      ...Array.from({ length: count }, () =>
        fc
          .tuple(
            fc.array(fc.boolean(), { minLength: whole.length, maxLength: whole.length }),
            fc.integer({ min: 0, max: whole.length }),
          )
          .map(([single, lead]) => whole.map((d, i) => (single[i] ? 1 : d)).slice(lead)),
      ),
    ),
  );

/** A shape and one of its axes, counted from either end. */
export const shapeAndAxis = (least = 1): fc.Arbitrary<{ dims: number[]; axis: number }> =>
  shape(least, 4).chain((dims) =>
    fc.record({
      dims: fc.constant(dims),
      axis: fc.integer({ min: -dims.length, max: dims.length - 1 }),
    }),
  );

/** A shape and some of its axes. */
export const shapeAndAxes: fc.Arbitrary<{ dims: number[]; axes: number[]; keepdims: number }> =
  shape(1, 4).chain((dims) =>
    fc.record({
      dims: fc.constant(dims),
      axes: fc.subarray(
        dims.map((_, i) => i),
        { minLength: 1 },
      ),
      keepdims: fc.integer({ min: 0, max: 1 }),
    }),
  );

/** [N,C,…] with 1 or 2 axes of planes. */
export const planes = (least = 2, channels = 5): fc.Arbitrary<number[]> =>
  fc
    .tuple(
      fc.integer({ min: 1, max: 3 }),
      fc.integer({ min: 1, max: channels }),
      fc.array(fc.integer({ min: least, max: 5 }), { minLength: 1, maxLength: 2 }),
    )
    .map(([n, c, plane]) => [n, c, ...plane]);

/** One operand of any shape. */
export const one = (
  make: (draw: Draw, dims: readonly number[]) => Tensor = (draw, dims) => draw(dims, 1.5),
  attributes: Readonly<Record<string, number>> = {},
): fc.Arbitrary<TorchCase> =>
  cases(shape(0, 4), (dims, draw) => ({
    inputs: [make(draw, dims)],
    attributes,
    floats: Object.keys(attributes),
  }));

/** Operands that are broadcast. */
export const several = (
  count: number,
  make: (tensor: Tensor, index: number) => Tensor = (tensor) => tensor,
): fc.Arbitrary<TorchCase> =>
  cases(broadcastShapes(count), (shapes, draw) => ({
    inputs: shapes.map((dims, index) => make(draw(dims), index)),
  }));
