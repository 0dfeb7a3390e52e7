// Every operator of ONNX that has random cases (the tables that are compared with PyTorch, and those here for operators
// without a gradient): inferred types, the reference and ONNX Runtime must agree, in float32.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Tensor } from '../../src/ir/index.js';
import type { DataType } from '../../src/ir/index.js';
import { RANDOM_SOURCES, allOps, elementCode } from '../../src/ops/index.js';
import {
  attributesOf,
  broadcastShapes,
  cases,
  line,
  one,
  shape,
  shapeAndAxes,
  shapeAndAxis,
} from '../torch/operator-cases.js';
import type { Line, TorchCase } from '../torch/operator-cases.js';
import { indexLines } from '../torch/operator-indices.js';
import { layoutLines } from '../torch/operator-layout.js';
import { reductionLines } from '../torch/operator-reductions.js';
import { resizeLines } from '../torch/operator-resize.js';
import { computingLines } from '../torch/operator-table.js';
import { agree } from './agree.js';

const RUNS = 40;
const SEED = 7;
/** Some ten times the rounding of sums of a few hundred products in float32 (eps 6e-8). */
const LIMIT = 1e-5;

// ---- operators without a gradient

/** Elements of another kind made from random ones. */
const converted = (tensor: Tensor, dtype: DataType, f: (x: number) => number): Tensor =>
  new Tensor(dtype, tensor.dims, tensor.data.map(f));

const truths = (tensor: Tensor): Tensor => converted(tensor, 'bool', (x) => (x > 0 ? 1 : 0));
/** Halves, so that rounding meets ties and comparisons meet equal elements. */
const halves = (tensor: Tensor): Tensor =>
  converted(tensor, tensor.dtype, (x) => Math.round(2 * x) / 2);

const pairs = (make: (tensor: Tensor) => Tensor): fc.Arbitrary<TorchCase> =>
  cases(broadcastShapes(2), (shapes, draw) => ({
    inputs: shapes.map((dims) => make(draw(dims, 1.5))),
    constants: [],
  }));

const single = (make: (tensor: Tensor) => Tensor): fc.Arbitrary<TorchCase> =>
  one((draw, dims) => make(draw(dims, 2)));

const wholeNumbers =
  (scale: number, avoid?: number) =>
  (tensor: Tensor): Tensor =>
    converted(tensor, 'int64', (x) => {
      const rounded = Math.round(scale * x);
      return rounded === avoid ? 3 : rounded;
    });

const remainders = cases(
  fc.tuple(broadcastShapes(2), fc.integer({ min: 0, max: 1 })),
  ([[a = [], b = []], fmod], draw) => ({
    inputs: [wholeNumbers(9)(draw(a)), wholeNumbers(4, 0)(draw(b))],
    attributes: { fmod },
    constants: [],
  }),
);

const multiplied = cases(shape(1, 3), (dims, draw, random) => ({
  inputs: [
    wholeNumbers(4)(draw(dims)),
    Tensor.of(
      'int64',
      [2, 1],
      [0, 1].map(() => random.integer(-(dims[0] ?? 1), (dims[0] ?? 1) - 1)),
    ),
    wholeNumbers(4)(draw([2, ...dims.slice(1)])),
  ],
  attributes: { reduction: 'mul' },
}));

const multipliedElements = cases(shapeAndAxis(), ({ dims, axis }, draw, random) => {
  const extent = dims.at(axis) ?? 1;
  const index = converted(draw(dims), 'int64', () => random.integer(-extent, extent - 1));
  return {
    inputs: [wholeNumbers(4)(draw(dims)), index, wholeNumbers(4)(draw(dims))],
    attributes: { axis, reduction: 'mul' },
  };
});

const encoded = cases(
  shape(1, 3).chain((dims) =>
    fc.tuple(fc.constant(dims), fc.integer({ min: -dims.length - 1, max: dims.length })),
  ),
  ([dims, axis], draw, random) => ({
    inputs: [
      converted(draw(dims), 'int64', () => random.integer(-6, 6)),
      Tensor.ints([4]),
      Tensor.of('float64', [2], [-1, 2]),
    ],
    attributes: { axis },
    constants: [1],
  }),
);

const largest = cases(
  fc.tuple(shapeAndAxis(), fc.integer({ min: 0, max: 1 }), fc.integer({ min: 0, max: 1 })),
  ([{ dims, axis }, keepdims, select_last_index], draw) => ({
    inputs: [halves(draw(dims))],
    attributes: { axis, keepdims, select_last_index },
  }),
);

const ranges = cases(
  fc.tuple(fc.integer({ min: -5, max: 5 }), fc.integer({ min: 1, max: 9 })),
  ([start, count], _draw, random) => {
    const step = random.integer(1, 3) * (random.uniform() < 0.5 ? -1 : 1);
    const bounds = [start, start + count * step, step];
    return { inputs: bounds.map((v) => Tensor.scalar(v, 'int64')), constants: [0, 1, 2] };
  },
);

const WITHOUT_GRADIENT: readonly Line[] = [
  ...['Greater', 'GreaterOrEqual', 'Less', 'LessOrEqual', 'Equal'].map((op) =>
    line(op, '', pairs(halves)),
  ),
  ...['And', 'Or', 'Xor'].map((op) => line(op, '', pairs(truths))),
  line('Not', '', single(truths)),
  ...['Sign', 'Floor', 'Ceil', 'Round'].map((op) => line(op, '', single(halves))),
  line(
    'IsNaN',
    '',
    single((t) => converted(t, t.dtype, (x) => (x > 1 ? NaN : x))),
  ),
  line(
    'IsInf',
    '',
    single((t) => converted(t, t.dtype, (x) => (Math.abs(x) > 1 ? x / 0 : x))),
  ),
  line('Mod', '', remainders),
  line('ScatterND', '', multiplied),
  line('ScatterElements', '', multipliedElements),
  line('OneHot', '', encoded),
  line('ArgMax', '', largest),
  line(
    'Hardmax',
    '',
    cases(shapeAndAxis(), ({ dims, axis }, draw) => ({
      inputs: [halves(draw(dims))],
      attributes: { axis },
    })),
  ),
  line('Range', '', ranges),
  line('Shape', '', single(halves)),
  line('Size', '', single(halves)),
  line(
    'ReduceProd',
    '',
    cases(shapeAndAxes, ({ dims, axes, keepdims }, draw) => ({
      inputs: [draw(dims)],
      attributes: { axes, keepdims },
    })),
  ),
  line(
    'EyeLike',
    '',
    cases(fc.tuple(shape(2, 2), fc.integer({ min: -3, max: 3 })), ([dims, k], draw) => ({
      inputs: [draw(dims)],
      attributes: { k, dtype: elementCode('float32') },
    })),
  ),
];

/** Operators of ONNX without random cases, and why. */
const LEFT: ReadonlyMap<string, string> = new Map([
  ['Constant', 'it has no operands'],
  ['ConstantOfShape', 'its operand is a shape alone; its samples cover it'],
  ['Dropout', 'without drawing at random it is the identity; its samples cover that'],
]);

// ---- against ONNX Runtime

const narrowed = (tensor: Tensor | undefined): Tensor | undefined =>
  tensor?.dtype === 'float64' ? converted(tensor, 'float32', Math.fround) : tensor;

const LINES: readonly Line[] = [
  ...computingLines,
  ...reductionLines,
  ...layoutLines,
  ...indexLines,
  ...resizeLines,
  ...WITHOUT_GRADIENT,
].filter(({ domain }) => domain === undefined);

describe.each(LINES)('$op', ({ op, cases: drawn }) => {
  test('types and values', async () => {
    const samples = fc.sample(drawn, { seed: SEED, numRuns: RUNS }).map((it) => ({
      ...it,
      type: op,
      inputs: it.inputs.map(narrowed),
      attributes: attributesOf(it),
    }));
    await agree(samples, LIMIT);
  });
});

test('every operator of ONNX has random cases, or a reason why not', () => {
  const covered = new Set(LINES.map(({ op }) => op));
  const left = allOps()
    .filter(({ domain, type }) => !domain && !RANDOM_SOURCES.has(type))
    .map(({ type }) => type)
    .filter((type) => !covered.has(type) && !LEFT.has(type));
  expect(left).toEqual([]);
});
