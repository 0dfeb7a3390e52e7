// Group normalization as one operator of our own: opset 17 has none, and exports spell it as Reshape,
// InstanceNormalization, Reshape, Mul, Add, in which the channels cannot be followed. In: X [N,C,…], scale and
// bias [C,1,…]. Out: Y. Invariant: C is a multiple of num_groups.

import { Attributes, Tensor, float, int, isStatic } from '../ir/index.js';
import type { Value } from '../ir/index.js';
import { inAxis, sameAxes } from './axes.js';
import { noGradient, outputSize, reshapeLike, zipElements } from './broadcast.js';
import { DEFAULT_EPSILON, channelData, channelSum } from './channels.js';
import { REVNETIFY, defineOp } from './definition.js';
import type { GradientContext, OpDefinition } from './definition.js';
import { normalizeRows } from './norm-gradient.js';

const groupsOf = (attributes: Attributes): number => attributes.int('num_groups', 1);

/** [N,C,…] → [N,G,C/G,…]: what a group holds are then the last axes. */
const grouped = (dims: readonly number[], groups: number): number[] => {
  const [batch = 0, channels = 0, ...plane] = dims;
  return [batch, groups, channels / groups, ...plane];
};

/** The gradient of layer normalization over the groups, which reads X alone of what the forward pass made. */
function gradient(ctx: GradientContext): (Value | undefined)[] {
  const { b } = ctx;
  const [x, dY, scale] = [ctx.input(0), ctx.grad(), ctx.input(1)];
  const dims = x.shape ?? noGradient(ctx.node, 'the rank of X is not known');
  const groups = groupsOf(ctx.attributes);
  const [, channels = 0, ...plane] = dims;
  if (typeof channels !== 'number') return noGradient(ctx.node, 'the channels are not known');
  if (!isStatic(plane)) return noGradient(ctx.node, `X is [${dims.join(',')}]`);
  const target = b.ints(0, groups, channels / groups, ...plane);
  const split = (value: Value): Value => b.op('Reshape', [value, target], { name: 'groups' });
  let outputs: readonly (Value | undefined)[] = [];
  if (ctx.wants(0) || ctx.wants(1)) {
    const ones = plane.map(() => 1);
    const wide = b.op('Reshape', [scale, b.ints(groups, channels / groups, ...ones)]);
    outputs = b.node('revnetify.NormGrad', [split(x), split(dY), wide], {
      attributes: {
        axis: int(2),
        epsilon: float(ctx.attributes.float('epsilon', DEFAULT_EPSILON)),
      },
      outputs: 2,
    }).outputs;
  }
  const [dX, dScale] = outputs;
  return [
    ctx.wants(0) && dX ? reshapeLike(b, dX, x) : undefined,
    ctx.wants(1) && dScale ? reshapeLike(b, dScale, scale) : undefined,
    ctx.wants(2) ? reshapeLike(b, channelSum(b, dY, dims.length), ctx.input(2)) : undefined,
  ];
}

/**
 * GroupNormalization(X [N,C,…], scale [C,1,…], bias [C,1,…]; num_groups, epsilon); Wu and He 2018. Scale and bias are
 * shaped as Mul and Add take them, so that they are the same constants in either form.
 */
const groupNormalization = defineOp({
  type: 'GroupNormalization',
  domain: REVNETIFY,
  parameters: [1, 2],
  infer(ctx) {
    const type = ctx.type(0);
    if (!type.shape) return [type];
    if (type.shape.length < 2) ctx.fail(`X has rank ${type.shape.length}, not 2 or more`);
    const [, channels, ...plane] = type.shape;
    for (const index of [1, 2]) {
      const own = ctx.shape(index);
      const fits = own.length === plane.length + 1 && own.slice(1).every((d) => d === 1);
      const differs = typeof own[0] === 'number' && typeof channels === 'number';
      if (!fits || (differs && own[0] !== channels))
        ctx.fail(`operand ${index} is [${own.join(',')}] for X [${type.shape.join(',')}]`);
    }
    const groups = groupsOf(ctx.attributes);
    if (!(groups > 0) || (typeof channels === 'number' && channels % groups !== 0))
      ctx.fail(`${channels ?? '?'} channels cannot be shared out to ${groups} groups`);
    return [type];
  },
  evaluate(ctx) {
    const x = ctx.input(0);
    const rows = x.reshape(grouped(x.dims, groupsOf(ctx.attributes)));
    const epsilon = ctx.attributes.float('epsilon', DEFAULT_EPSILON);
    const normal = normalizeRows(rows, 2, epsilon).normal.reshape(x.dims);
    const scaled = zipElements(normal, ctx.input(1), (p, q) => p * q);
    return [zipElements(scaled, ctx.input(2), (p, q) => p + q)];
  },
  gradient,
  flops: (ctx) => 8 * outputSize(ctx),
  keepsShape: true,
  axes: (ctx) =>
    sameAxes(ctx).map((link, axis) =>
      axis === 1
        ? {
            axes: [...link.axes, inAxis(1, 0), inAxis(2, 0)],
            multiple: groupsOf(ctx.attributes),
          }
        : link,
    ),
  initial: (index) => (index === 1 ? 'ones' : 'zeros'),
  // No guard of its own: spelled out, its first nodes read X alone, so it is X that waits.
  samples: (random) =>
    [
      { label: 'two groups', dims: [2, 6, 3, 4], groups: 2, offset: 0.5 },
      { label: 'one group', dims: [2, 3, 2, 3], groups: 1, offset: 0.5 },
      { label: 'a group per channel', dims: [2, 3, 2, 3], groups: 3, offset: 0.5 },
      { label: 'rank 3', dims: [3, 4, 5], groups: 2, offset: 0.5 },
      { label: 'rank 2', dims: [3, 8], groups: 2, offset: 0.5 },
      { label: 'mean of 50 deviations', dims: [2, 4, 3, 3], groups: 2, offset: 50 },
    ].map(({ label, dims, groups, offset }) => {
      const [, channels = 0, ...plane] = dims;
      const column = [channels, ...plane.map(() => 1)];
      const vector = (shift: number): Tensor => random.tensor(column, 0.5, shift);
      return {
        label,
        inputs: [channelData(random, dims, offset), vector(1), vector(0)],
        attributes: new Attributes({ num_groups: int(groups), epsilon: float(1e-3) }),
      };
    }),
});

export const normGroupOps: readonly OpDefinition[] = [groupNormalization];
