// The gradient of normalization over the last axes as ai.onnx nodes. In: NormGrad. Out: dX and dScale. Invariant: x̂ is
// made once, centred before it is scaled, and whatever is constant along a row is applied to the row's averages instead
// of its elements.

import { Tensor, elementCount, float, int, ints } from '../ir/index.js';
import type { Value } from '../ir/index.js';
import { DEFAULT_EPSILON } from '../ops/channels.js';
import { scalarLike, unbroadcast } from '../ops/index.js';
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
  const ones = Tensor.of(
    x.type?.dtype ?? 'float32',
    row,
    new Array<number>(elementCount(row)).fill(1),
  );
  const { outputs } = b.node('LayerNormalization', [x, b.constant(ones, 'ones')], {
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

export const normLowerings: readonly Lowering[] = [
  defineLowering({
    type: 'NormGrad',
    rules: { cpu: normGrad(normalByKernel), portable: normGrad(normalByPrimitives) },
  }),
];
