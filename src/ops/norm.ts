// Normalization of each sample on its own: LayerNormalization, InstanceNormalization. In: X, a scale, a bias. Out:
// Y and, where asked for, the statistics. Invariant: what is normalised over are the last axes of X, and every
// variance is the biased one.

import { Attributes, Tensor, float, int } from '../ir/index.js';
import type { Dim, Shape, Value } from '../ir/index.js';
import { inAxis, outAxis, sameAxes } from './axes.js';
import {
  axisOf,
  inferAxis,
  noGradient,
  outputSize,
  unbroadcast,
  zipElements,
} from './broadcast.js';
import { DEFAULT_EPSILON, channelData, channelSum, perChannel } from './channels.js';
import { defineOp } from './definition.js';
import type { AxisLink, GradientContext, InferContext, OpDefinition } from './definition.js';
import { elementType } from './element-types.js';
import { normalizeRows } from './norm-gradient.js';

/** The token joins the bias, or the scale where there is none: the smallest operand on every path to Y. */
const guardVector: NonNullable<OpDefinition['guard']> = (node, token, b) => {
  const index = node.inputs[2] ? 2 : 1;
  node.setInput(index, b.op('Add', [node.input(index), token], { name: 'token' }));
};

const add = (x: number, y: number): number => x + y;
const multiply = (x: number, y: number): number => x * y;

/** dX and dScale by one step that reads X alone of what the forward pass made. */
function normGrad(
  ctx: GradientContext,
  scale: Value,
  axis: number,
): readonly [dX: Value | undefined, dScale: Value | undefined] {
  if (ctx.hasGrad(1) || ctx.hasGrad(2)) noGradient(ctx.node, 'its statistics reach the loss');
  if (!ctx.wants(0) && !ctx.wants(1)) return [undefined, undefined];
  const { outputs } = ctx.b.node('revnetify.NormGrad', [ctx.input(0), ctx.grad(), scale], {
    attributes: { axis: int(axis), epsilon: float(epsilonOf(ctx.attributes)) },
    outputs: 2,
  });
  return [outputs[0], outputs[1]];
}

const epsilonOf = (attributes: Attributes): number => attributes.float('epsilon', DEFAULT_EPSILON);

// ---- LayerNormalization

const rankOf = (value: Value | undefined): number => value?.shape?.length ?? 0;

/** Scale and bias against the axes of X they are repeated to. */
function checkVectors(ctx: InferContext, shape: Shape): void {
  for (const index of [1, 2]) {
    if (!ctx.has(index)) continue;
    const own = ctx.shape(index);
    const wrong = (d: Dim, i: number): boolean => {
      const wide = shape[shape.length - own.length + i];
      return d !== 1 && typeof d === 'number' && typeof wide === 'number' && d !== wide;
    };
    if (own.length > shape.length || own.some(wrong))
      ctx.fail(`operand ${index} [${own.join(',')}] cannot be repeated to [${shape.join(',')}]`);
  }
}

/** Axes of the scale and the bias that follow an axis of X. */
const vectorAxes = (ctx: InferContext, axis: number, extent: Dim | undefined): AxisLink['axes'] =>
  [1, 2].flatMap((index) => {
    const own = ctx.node.inputs[index]?.shape;
    const place = axis - (rankOf(ctx.node.inputs[0]) - (own?.length ?? 0));
    return own && place >= 0 && (own[place] !== 1 || extent === 1) ? [inAxis(index, place)] : [];
  });

/** LayerNormalization(X, scale, bias?; axis, epsilon) → Y, mean?, 1/√(variance + ε)?; Ba et al. 2016. */
const layerNormalization = defineOp({
  type: 'LayerNormalization',
  parameters: [1, 2],
  infer(ctx) {
    const { dtype, shape } = ctx.type(0);
    const stash = elementType(ctx.attributes.int('stash_type', 1));
    if (!shape) return [{ dtype, shape }];
    const axis = inferAxis(ctx, shape.length, -1);
    checkVectors(ctx, shape);
    const kept = shape.map((d, i) => (i < axis ? d : 1));
    const statistics = { dtype: dtype === 'float64' ? dtype : stash, shape: kept };
    return [{ dtype, shape }, statistics, statistics];
  },
  evaluate(ctx) {
    const x = ctx.input(0);
    const axis = axisOf(ctx.attributes, x.dims.length, -1);
    const { normal, mean, inverse } = normalizeRows(x, axis, epsilonOf(ctx.attributes));
    const scaled = zipElements(normal, ctx.input(1), multiply);
    const bias = ctx.inputs[2];
    return [bias ? zipElements(scaled, bias, add) : scaled, mean, inverse].slice(
      0,
      ctx.outputCount,
    );
  },
  gradient(ctx) {
    const axis = axisOf(ctx.attributes, rankOf(ctx.input(0)), -1);
    const [dX, dScale] = normGrad(ctx, ctx.input(1), axis);
    return [
      ctx.wants(0) ? dX : undefined,
      ctx.wants(1) ? dScale : undefined,
      ctx.wants(2) ? unbroadcast(ctx.b, ctx.grad(), ctx.input(2).shape) : undefined,
    ];
  },
  flops: (ctx) => 8 * outputSize(ctx),
  keepsShape: true,
  axes: (ctx) => {
    const { shape } = ctx.type(0);
    const first = shape ? inferAxis(ctx, shape.length, -1) : 0;
    return sameAxes(ctx).map((link, axis) => ({
      axes: [
        ...link.axes,
        ...vectorAxes(ctx, axis, shape?.[axis]),
        ...(axis < first ? [outAxis(axis, 1), outAxis(axis, 2)] : []),
      ],
    }));
  },
  initial: (index) => (index === 1 ? 'ones' : 'zeros'),
  guard: guardVector,
  samples: (random) => {
    const t = (...dims: number[]): Tensor => random.tensor(dims, 0.5, 0.7);
    const epsilon = float(1e-3);
    return [
      { label: 'last axis', inputs: [t(2, 3, 6), t(6), t(6)] },
      { label: 'no bias', inputs: [t(2, 3, 6), t(6)], attributes: new Attributes({ epsilon }) },
      {
        label: 'two axes',
        inputs: [t(3, 2, 4), t(2, 4), t(2, 4)],
        attributes: new Attributes({ axis: int(1), epsilon }),
      },
      {
        label: 'all axes',
        inputs: [t(2, 3), t(2, 3), t(2, 3)],
        attributes: new Attributes({ axis: int(0) }),
      },
      {
        label: 'scale of one element, bias along one axis',
        inputs: [t(3, 2, 4), t(1), t(4)],
        attributes: new Attributes({ axis: int(-2) }),
      },
      { label: 'statistics', inputs: [t(2, 4, 5), t(5), t(5)], outputs: 3 },
      { label: 'mean of 50 deviations', inputs: [random.tensor([3, 8], 1, 50), t(8), t(8)] },
    ];
  },
});

// ---- InstanceNormalization

/** [C] as [C,1,…], which is repeated over [N,C,…]. */
const columnOf = (vector: Tensor, rank: number): Tensor =>
  new Tensor(
    vector.dtype,
    [vector.size, ...new Array<number>(Math.max(0, rank - 2)).fill(1)],
    vector.data,
  );

/** InstanceNormalization(X [N,C,…], scale [C], bias [C]; epsilon): each plane on its own; Ulyanov et al. 2016. */
const instanceNormalization = defineOp({
  type: 'InstanceNormalization',
  parameters: [1, 2],
  infer(ctx) {
    const type = ctx.type(0);
    if (!type.shape) return [type];
    if (type.shape.length < 3) ctx.fail(`X has rank ${type.shape.length}, not 3 or more`);
    const [, channels] = type.shape;
    for (const index of [1, 2]) {
      const own = ctx.shape(index);
      if (own.length !== 1) ctx.fail(`operand ${index} has rank ${own.length}, not 1`);
      if (typeof own[0] === 'number' && typeof channels === 'number' && own[0] !== channels)
        ctx.fail(`operand ${index} has ${own[0]} entries for ${channels} channels`);
    }
    return [type];
  },
  evaluate(ctx) {
    const x = ctx.input(0);
    const rank = x.dims.length;
    const { normal } = normalizeRows(x, 2, epsilonOf(ctx.attributes));
    const scaled = zipElements(normal, columnOf(ctx.input(1), rank), multiply);
    return [zipElements(scaled, columnOf(ctx.input(2), rank), add)];
  },
  gradient(ctx) {
    const { b } = ctx;
    const rank = rankOf(ctx.input(0));
    const [dX, dScale] = normGrad(ctx, perChannel(b, ctx.input(1), rank), 2);
    return [
      ctx.wants(0) ? dX : undefined,
      ctx.wants(1) && dScale ? b.op('Reshape', [dScale, b.ints(-1)]) : undefined,
      ctx.wants(2) ? channelSum(b, ctx.grad(), rank) : undefined,
    ];
  },
  flops: (ctx) => 8 * outputSize(ctx),
  keepsShape: true,
  axes: (ctx) =>
    sameAxes(ctx).map((link, axis) =>
      axis === 1 ? { axes: [...link.axes, inAxis(1, 0), inAxis(2, 0)] } : link,
    ),
  initial: (index) => (index === 1 ? 'ones' : 'zeros'),
  guard: guardVector,
  samples: (random) =>
    [
      { label: 'rank 4', dims: [2, 3, 4, 3], offset: 0.5 },
      { label: 'rank 3', dims: [3, 2, 5], offset: 0.5 },
      { label: 'rank 5', dims: [2, 2, 2, 3, 2], offset: 0.5 },
      { label: 'one channel', dims: [2, 1, 3, 3], offset: 0.5 },
      { label: 'mean of 50 deviations', dims: [2, 2, 3, 4], offset: 50 },
    ].map(({ label, dims, offset }) => ({
      label,
      inputs: [
        channelData(random, dims, offset),
        random.tensor(dims.slice(1, 2)),
        random.tensor(dims.slice(1, 2)),
      ],
      attributes: new Attributes({ epsilon: float(1e-3) }),
    })),
});

export const normOps: readonly OpDefinition[] = [layerNormalization, instanceNormalization];
