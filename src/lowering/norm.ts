// Group normalization and the gradient of normalization over the last axes as ai.onnx nodes. In: GroupNormalization,
// NormGrad. Out: Y; dX and dScale. Invariant: x̂ is made once, centred before it is scaled, and whatever is constant along a row is applied to the row's averages instead
// of its elements.

import { Tensor, float, int, ints, isStatic } from '../ir/index.js';
import type { Value } from '../ir/index.js';
import { DEFAULT_EPSILON } from '../ops/channels.js';
import { reshapeLike, scalarLike, unbroadcast } from '../ops/index.js';
import type { Builder } from '../ops/index.js';
import { defineLowering } from './definition.js';
import type { LowerContext, Lowering } from './definition.js';

interface Normal {
  readonly normal: Value;
  /** 1 / √(variance + ε), one per row. */
  readonly inverse: Value;
}

const epsilonOf = (ctx: LowerContext): number => ctx.attributes.float('epsilon', DEFAULT_EPSILON);
const axisOf = (ctx: LowerContext): number => ctx.attributes.int('axis', -1);

/** The average over the axes from `axis` on. */
const rowMean = (b: Builder, x: Value, axis: number, rank: number, name: string): Value =>
  b.op('ReduceMean', [x], {
    attributes: {
      axes: ints(Array.from({ length: rank - axis }, (_, i) => axis + i)),
      keepdims: int(1),
    },
    name,
  });

/** One kernel makes x̂ and 1/√(variance + ε). */
const normalByKernel = (ctx: LowerContext): Normal => {
  const { b } = ctx;
  const x = ctx.input(0);
  const axis = axisOf(ctx);
  const row = ctx.shape(0).slice(axis);
  // Repeated by a node, which ONNX Runtime folds: as constants of the file, rows of whole planes would be heavy.
  const ones = b.op('Expand', [scalarLike(b, x, 1), b.ints(...row)], { name: 'ones' });
  const { outputs } = b.node('LayerNormalization', [x, ones], {
    attributes: { axis: int(axis), epsilon: float(epsilonOf(ctx)) },
    outputs: 3,
    name: 'normal',
  });
  return { normal: outputs[0] as Value, inverse: outputs[2] as Value };
};

const normalByPrimitives = (ctx: LowerContext): Normal => {
  const { b } = ctx;
  const x = ctx.input(0);
  const [axis, rank] = [axisOf(ctx), ctx.shape(0).length];
  const centred = b.op('Sub', [x, rowMean(b, x, axis, rank, 'mean')], { name: 'centred' });
  const squares = b.op('Mul', [centred, centred], { name: 'squares' });
  const variance = rowMean(b, squares, axis, rank, 'variance');
  const shifted = b.op('Add', [variance, scalarLike(b, variance, epsilonOf(ctx))]);
  const deviation = b.op('Sqrt', [shifted], { name: 'deviation' });
  const inverse = b.op('Div', [scalarLike(b, deviation, 1), deviation], { name: 'inverse' });
  return { normal: b.op('Mul', [centred, inverse], { name: 'normal' }), inverse };
};

const normGrad =
  (normalize: (ctx: LowerContext) => Normal) =>
  (ctx: LowerContext): (Value | undefined)[] => {
    const { b } = ctx;
    const [dY, scale] = [ctx.input(1), ctx.input(2)];
    const [axis, rank] = [axisOf(ctx), ctx.shape(0).length];
    const { normal, inverse } = normalize(ctx);
    const products = b.op('Mul', [dY, normal], { name: 'products' });
    const dScale = ctx.reads(1) ? unbroadcast(b, products, ctx.shape(2)) : undefined;
    if (!ctx.reads(0)) return [undefined, dScale];
    const wide = ctx.shape(2).slice(Math.max(0, axis - (rank - ctx.shape(2).length)));
    const mean = (x: Value, name: string): Value => rowMean(b, x, axis, rank, name);
    const minus = (x: Value, y: Value, name: string): Value => b.op('Sub', [x, y], { name });
    const times = (x: Value, y: Value, name: string): Value => b.op('Mul', [x, y], { name });
    if (wide.every((d) => d === 1)) {
      // One scale for the whole row: it multiplies 1/√(variance + ε).
      const explained = times(normal, mean(products, 'slope'), 'explained');
      const rest = minus(minus(dY, mean(dY, 'shift'), 'level'), explained, 'rest');
      return [times(rest, times(inverse, scale, 'steepness'), 'dX'), dScale];
    }
    const slope = mean(times(products, scale, 'scaledProducts'), 'slope');
    const g = times(dY, scale, 'g');
    const level = minus(g, mean(g, 'shift'), 'level');
    const rest = minus(level, times(normal, slope, 'explained'), 'rest');
    return [times(rest, inverse, 'dX'), dScale];
  };

/**
 * Groups as the instances of an InstanceNormalization without a scale of its own, as PyTorch writes it. Shapes may be
 * open: rev.onnx is written in this form too.
 */
const groupNormalization = (ctx: LowerContext): Value[] => {
  const { b } = ctx;
  const x = ctx.input(0);
  const dtype = x.type?.dtype ?? 'float32';
  const groups = ctx.attributes.int('num_groups', 1);
  const vector = (value: number): Value =>
    b.constant(Tensor.of(dtype, [groups], new Array<number>(groups).fill(value)));
  const rows = b.op('Reshape', [x, b.ints(0, groups, -1)], { name: 'groups' });
  const normal = b.op('InstanceNormalization', [rows, vector(1), vector(0)], {
    attributes: { epsilon: float(epsilonOf(ctx)) },
    name: 'normal',
  });
  const [, ...inner] = x.shape ?? ['?'];
  const back = isStatic(inner)
    ? b.op('Reshape', [normal, b.ints(0, ...inner)], { name: 'planes' })
    : reshapeLike(b, normal, x);
  const scaled = b.op('Mul', [back, ctx.input(1)], { name: 'scaled' });
  return [b.op('Add', [scaled, ctx.input(2)], { name: 'Y' })];
};

export const normLowerings: readonly Lowering[] = [
  defineLowering({
    type: 'GroupNormalization',
    rules: { cpu: groupNormalization, portable: groupNormalization },
  }),
  defineLowering({
    type: 'NormGrad',
    rules: { cpu: normGrad(normalByKernel), portable: normGrad(normalByPrimitives) },
  }),
];
