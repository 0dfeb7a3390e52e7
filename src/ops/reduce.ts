// Reductions over axes. At opset 17 ReduceSum takes its axes as an operand and the others as an attribute.
// In: one tensor. Out: the tensor with the reduced axes gone or 1. Invariant: no axes at all means all axes,
// unless noop_with_empty_axes says otherwise.

import { DiagnosticError } from '../diagnostics/index.js';
import { Attributes, Tensor, elementCount, int, ints, isFloat } from '../ir/index.js';
import type { Dim, Shape, Value } from '../ir/index.js';
import { movedAxes } from './axes.js';
import { inputSize, normalizeAxes } from './broadcast.js';
import { copyStrided, impossible, mapElements, stridesOf } from './elements.js';
import { expandLike, scalarLike } from './gradient-parts.js';
import { defineOp } from './definition.js';
import type { GradientContext, InferContext, OpDefinition, OpSample } from './definition.js';
import { multiplyDims } from './dims.js';
import type { Random } from './random.js';

/** The reduced axes; `given` undefined = left out. */
function reducedAxes(
  given: readonly number[] | undefined,
  attributes: Attributes,
  rank: number,
  fail: (why: string) => never,
): number[] {
  if (given && given.length > 0) return normalizeAxes(given, rank, fail);
  if (attributes.int('noop_with_empty_axes', 0) === 1) return [];
  return Array.from({ length: rank }, (_, i) => i);
}

const keeps = (attributes: Attributes): boolean => attributes.int('keepdims', 1) === 1;

/** Shape with the axes reduced. */
function without(shape: Shape, axes: readonly number[], keep: boolean): Dim[] {
  return keep
    ? shape.map((d, i) => (axes.includes(i) ? 1 : d))
    : shape.filter((_, i) => !axes.includes(i));
}

/** Reduces rows of contiguous elements after bringing the reduced axes to the end. */
function reduce(
  x: Tensor,
  axes: readonly number[],
  keep: boolean,
  f: (row: Float64Array) => number,
): Tensor {
  const rest = x.dims.map((_, i) => i).filter((i) => !axes.includes(i));
  const perm = [...rest, ...axes];
  const strides = stridesOf(x.dims);
  const moved = copyStrided(
    x.data,
    perm.map((p) => x.dims[p] as number),
    perm.map((p) => strides[p] as number),
  );
  const length = elementCount(axes.map((a) => x.dims[a] as number));
  const dims = without(x.dims, axes, keep) as number[];
  const out = Tensor.zeros(x.dtype, dims);
  for (let i = 0; i < out.size; i++) out.data[i] = f(moved.subarray(i * length, (i + 1) * length));
  return out;
}

export interface Reduction {
  readonly type: string;
  readonly f: (row: Float64Array) => number;
  readonly axesOperand: boolean;
  /** Samples are above 0. */
  readonly positive?: boolean;
  /** Gradient by the operand, from the gradient and the result with the reduced axes kept as 1. */
  readonly gradient?: (
    ctx: GradientContext,
    kept: (value: Value) => Value,
    axes: readonly number[],
  ) => Value;
  readonly propagate?: OpDefinition['propagate'];
}

function inferAxes(ctx: InferContext, op: Reduction, rank: number): readonly number[] | undefined {
  const fail = (why: string): never => ctx.fail(why);
  if (!op.axesOperand) return reducedAxes(ctx.attributes.ints('axes'), ctx.attributes, rank, fail);
  if (!ctx.has(1)) return reducedAxes(undefined, ctx.attributes, rank, fail);
  const given = ctx.numbers(1);
  return given && reducedAxes(given, ctx.attributes, rank, fail);
}

function inferReduction(ctx: InferContext, op: Reduction): Shape | undefined {
  const { shape } = ctx.type(0);
  const keep = keeps(ctx.attributes);
  if (!shape) return undefined;
  const axes = inferAxes(ctx, op, shape.length);
  if (axes) return without(shape, axes, keep);
  return keep ? shape.map(() => ctx.fresh()) : undefined;
}

/** Axes of a node whose gradient is built. @throws DiagnosticError shape/unknown */
function gradientAxes(ctx: GradientContext, op: Reduction): number[] {
  const unknown = (why: string): never => {
    throw new DiagnosticError('shape/unknown', `node ${ctx.node.name} (${op.type})`, why);
  };
  const rank = ctx.input(0).shape?.length ?? unknown('the rank of the operand is not known');
  let given = ctx.attributes.ints('axes');
  if (op.axesOperand && ctx.has(1))
    given = ctx.input(1).constant?.load().toArray() ?? unknown('the axes are not constant');
  return reducedAxes(given, ctx.attributes, rank, unknown);
}

function samples(op: Reduction, random: Random): OpSample[] {
  const sample = (
    label: string,
    dims: readonly number[],
    axes: readonly number[] | undefined,
    attributes: Record<string, ReturnType<typeof int>> = {},
  ): OpSample => {
    const drawn = random.tensor(dims, 0.5, 1);
    const x = op.positive ? mapElements(drawn, (v) => Math.abs(v) + 0.25) : drawn;
    if (op.axesOperand)
      return {
        label,
        inputs: axes ? [x, Tensor.ints(axes)] : [x],
        constants: axes ? [1] : [],
        attributes: new Attributes(attributes),
      };
    return {
      label,
      inputs: [x],
      attributes: new Attributes(axes ? { ...attributes, axes: ints(axes) } : attributes),
    };
  };
  return [
    sample('one axis', [2, 3, 4], [1]),
    sample('two axes dropped', [2, 3, 4, 2], [3, 0], { keepdims: int(0) }),
    sample('negative axis', [2, 3], [-1], { keepdims: int(0) }),
    sample('all', [2, 3, 2], undefined),
    sample('all, dropped', [2, 3], undefined, { keepdims: int(0) }),
    ...(op.axesOperand
      ? [sample('no operation', [2, 3], undefined, { noop_with_empty_axes: int(1) })]
      : []),
  ];
}

export const reduction = (op: Reduction): OpDefinition => {
  const rule = op.gradient;
  const gradient = (ctx: GradientContext): (Value | undefined)[] => {
    if (!ctx.wants(0) || !rule) return [undefined];
    const { b } = ctx;
    const axes = gradientAxes(ctx, op);
    const kept = (value: Value): Value =>
      keeps(ctx.attributes) || axes.length === 0
        ? value
        : b.op('Unsqueeze', [value, b.ints(...axes)]);
    return [rule(ctx, kept, axes)];
  };
  return defineOp({
    type: op.type,
    infer: (ctx) => [{ dtype: ctx.type(0).dtype, shape: inferReduction(ctx, op) }],
    ...(op.propagate ? { propagate: op.propagate } : {}),
    evaluate: (ctx) => {
      const x = ctx.input(0);
      const given = op.axesOperand ? ctx.inputs[1]?.toArray() : ctx.attributes.ints('axes');
      const axes = reducedAxes(given, ctx.attributes, x.dims.length, impossible);
      return [reduce(x, axes, keeps(ctx.attributes), op.f)];
    },
    ...(rule ? { gradient } : {}),
    axes: (ctx) => {
      const rank = ctx.shape(0).length;
      const axes = inferAxes(ctx, op, rank);
      const keep = keeps(ctx.attributes);
      if (!axes) return [];
      return movedAxes(rank, (axis) =>
        axes.includes(axis)
          ? undefined
          : axis - (keep ? 0 : axes.filter((reduced) => reduced < axis).length),
      );
    },
    flops: inputSize,
    samples: (random) => samples(op, random),
  });
};

export const total = (row: Float64Array): number => {
  let sum = 0;
  for (const x of row) sum += x;
  return sum;
};

const reduceSumOp = reduction({
  type: 'ReduceSum',
  axesOperand: true,
  f: total,
  gradient: (ctx, kept) => expandLike(ctx.b, kept(ctx.grad()), ctx.input(0)),
});

const reduceSumSquare = reduction({
  type: 'ReduceSumSquare',
  axesOperand: false,
  f: (row) => {
    let sum = 0;
    for (const x of row) sum += x * x;
    return sum;
  },
  gradient: (ctx, kept) => {
    const { b } = ctx;
    const x = ctx.input(0);
    return b.op('Mul', [b.op('Mul', [x, scalarLike(b, x, 2)]), kept(ctx.grad())]);
  },
});

const reduceMean = reduction({
  type: 'ReduceMean',
  axesOperand: false,
  f: (row) => total(row) / row.length,
  gradient: (ctx, kept, axes) => {
    const { b } = ctx;
    const x = ctx.input(0);
    const grad = kept(ctx.grad());
    const count = multiplyDims(axes.map((a) => x.shape?.[a] ?? '?'));
    // Scaled before it is expanded: there is less of it.
    if (typeof count === 'number')
      return expandLike(b, b.op('Mul', [grad, scalarLike(b, grad, 1 / count)]), x);
    const ones = expandLike(b, scalarLike(b, x, 1), x);
    const size = b.op('ReduceSum', [ones, b.ints(...axes)]);
    return expandLike(b, b.op('Div', [grad, size]), x);
  },
});

/** Ties share the gradient evenly, as PyTorch's amax does. */
const extremeGradient: NonNullable<Reduction['gradient']> = (ctx, kept, axes) => {
  const { b } = ctx;
  const x = ctx.input(0);
  const grad = kept(ctx.grad());
  const mask = b.op('Where', [
    b.op('Equal', [x, kept(ctx.output())]),
    scalarLike(b, x, 1),
    scalarLike(b, x, 0),
  ]);
  if (axes.length === 0) return b.op('Mul', [mask, grad]);
  const ties = b.op('ReduceSum', [mask, b.ints(...axes)]);
  return b.op('Mul', [mask, b.op('Div', [grad, ties])]);
};

const reduceMax = reduction({
  type: 'ReduceMax',
  axesOperand: false,
  f: (row) => row.reduce((a, x) => Math.max(a, x), -Infinity),
  gradient: extremeGradient,
});

const reduceMin = reduction({
  type: 'ReduceMin',
  axesOperand: false,
  f: (row) => row.reduce((a, x) => Math.min(a, x), Infinity),
  gradient: extremeGradient,
});

const reduceProd = reduction({
  type: 'ReduceProd',
  axesOperand: false,
  f: (row) => row.reduce((a, x) => a * x, 1),
  // Exporters take the product of a shape; products of float activations have no zero-safe short gradient.
  propagate: (ctx) => {
    const content = ctx.content(0);
    const { dtype, shape } = ctx.type(0);
    return content && !isFloat(dtype) && shape?.length === 1 ? [multiplyDims(content)] : undefined;
  },
});

export const reduceOps: readonly OpDefinition[] = [
  reduceSumOp,
  reduceSumSquare,
  reduceMean,
  reduceMax,
  reduceMin,
  reduceProd,
];
