// Activations with a curve or a slope of their own: Elu, Selu, Celu, Softplus, Softsign, ThresholdedRelu, PRelu, and
// Hardmax. In: X. Out: the same shape. Invariant: where the slope can be read off the result it is, so that X need not be
// kept.

import { Attributes, Tensor, elementCount, float, int } from '../ir/index.js';
import type { Value } from '../ir/index.js';
import { broadcastAxes } from './axes.js';
import {
  axisOf,
  broadcastShapes,
  broadcastTo,
  guardSmallest,
  inferAxis,
  mapElements,
  outputSize,
  scalarLike,
  unbroadcast,
  zipElements,
} from './broadcast.js';
import type { Builder } from './builder.js';
import { defineOp } from './definition.js';
import type { GradientContext, OpDefinition, OpSample } from './definition.js';
import type { Random } from './random.js';

/** Numbers at least 0.1 away from a corner. */
const awayFrom = (random: Random, dims: readonly number[], corner = 0): Tensor =>
  mapElements(random.tensor(dims, 1.5, corner), (x) => Math.fround(x + (x < corner ? -0.1 : 0.1)));

const samplesOf =
  (parameters: Readonly<Record<string, number>>, corner = 0) =>
  (random: Random): OpSample[] => [
    { label: 'rank 4', inputs: [awayFrom(random, [2, 3, 4, 2], corner)] },
    { label: 'scalar', inputs: [awayFrom(random, [], corner)] },
    ...(Object.keys(parameters).length === 0
      ? []
      : [
          {
            label: Object.entries(parameters)
              .map(([name, value]) => `${name} ${value}`)
              .join(', '),
            inputs: [awayFrom(random, [3, 5], parameters.alpha !== undefined ? corner : 0)],
            attributes: new Attributes(
              Object.entries(parameters).map(([name, value]) => [name, float(value)] as const),
            ),
          },
        ]),
  ];

interface Curve {
  readonly type: string;
  readonly f: (attributes: Attributes) => (x: number) => number;
  /** dX from dY; X and the result are read only where they are asked for. */
  readonly gradient: (ctx: GradientContext, dY: Value) => Value;
  readonly cost: number;
  /** Attributes of one more sample. */
  readonly parameters?: Readonly<Record<string, number>>;
}

const curve = (op: Curve): OpDefinition =>
  defineOp({
    type: op.type,
    infer: (ctx) => [ctx.type(0)],
    evaluate: (ctx) => [mapElements(ctx.input(0), op.f(ctx.attributes))],
    gradient: (ctx) => [ctx.wants(0) ? op.gradient(ctx, ctx.grad()) : undefined],
    flops: (ctx) => op.cost * outputSize(ctx),
    keepsShape: true,
    samples: samplesOf(op.parameters ?? {}),
  });

const times = (b: Builder, x: Value, y: Value | number): Value =>
  b.op('Mul', [x, typeof y === 'number' ? scalarLike(b, x, y) : y]);
const plus = (b: Builder, x: Value, y: number): Value => b.op('Add', [x, scalarLike(b, x, y)]);
/** min(x, 0). */
const negativePart = (b: Builder, x: Value): Value => b.op('Min', [x, scalarLike(b, x, 0)]);

// ---- exponential below 0

const alphaOf = (attributes: Attributes, fallback = 1): number =>
  attributes.float('alpha', fallback);

const elu = curve({
  type: 'Elu',
  f: (attributes) => (x) => (x < 0 ? alphaOf(attributes) * Math.expm1(x) : x),
  gradient: (ctx, dY) => {
    const { b } = ctx;
    const alpha = alphaOf(ctx.attributes);
    const y = ctx.output();
    // alpha·exp(x) = y + alpha below 0, and min(y, 0) + 1 is both slopes at once where alpha is 1.
    if (alpha === 1) return times(b, dY, plus(b, negativePart(b, y), 1));
    const x = ctx.input(0);
    const positive = b.op('Greater', [x, scalarLike(b, x, 0)]);
    return b.op('Where', [positive, dY, times(b, dY, plus(b, y, alpha))]);
  },
  cost: 10,
  parameters: { alpha: 0.5 },
});

const SELU_ALPHA = 1.67326319217681884765625;
const SELU_GAMMA = 1.05070102214813232421875;

const selu = curve({
  type: 'Selu',
  f: (attributes) => (x) => {
    const [alpha, gamma] = [alphaOf(attributes, SELU_ALPHA), attributes.float('gamma', SELU_GAMMA)];
    return gamma * (x < 0 ? alpha * Math.expm1(x) : x);
  },
  gradient: (ctx, dY) => {
    const { b, attributes } = ctx;
    const [alpha, gamma] = [alphaOf(attributes, SELU_ALPHA), attributes.float('gamma', SELU_GAMMA)];
    const [x, y] = [ctx.input(0), ctx.output()];
    const positive = b.op('Greater', [x, scalarLike(b, x, 0)]);
    const slope = b.op('Where', [positive, scalarLike(b, y, gamma), plus(b, y, gamma * alpha)]);
    return times(b, dY, slope);
  },
  cost: 11,
  parameters: { alpha: 1.25, gamma: 0.75 },
});

const celu = curve({
  type: 'Celu',
  f: (attributes) => (x) => {
    const alpha = alphaOf(attributes);
    return Math.max(0, x) + Math.min(0, alpha * Math.expm1(x / alpha));
  },
  gradient: (ctx, dY) => {
    const { b } = ctx;
    const below = negativePart(b, ctx.output());
    return times(b, dY, plus(b, times(b, below, 1 / alphaOf(ctx.attributes)), 1));
  },
  cost: 12,
  parameters: { alpha: 0.5 },
});

// ---- smooth ones

const softplus = curve({
  type: 'Softplus',
  // ln(1 + exp(x)) without overflow.
  f: () => (x) => Math.max(x, 0) + Math.log1p(Math.exp(-Math.abs(x))),
  gradient: (ctx, dY) => times(ctx.b, dY, ctx.b.op('Sigmoid', [ctx.input(0)])),
  cost: 12,
});

const softsign = curve({
  type: 'Softsign',
  f: () => (x) => x / (1 + Math.abs(x)),
  gradient: (ctx, dY) => {
    const { b } = ctx;
    // 1/(1 + |x|) = 1 − |y|
    const y = ctx.output();
    const rest = b.op('Sub', [scalarLike(b, y, 1), b.op('Abs', [y])]);
    return times(b, dY, times(b, rest, rest));
  },
  cost: 3,
});

/** X where X > alpha, else 0: the corner belongs to the lower side. */
const thresholdedRelu: OpDefinition = {
  ...curve({
    type: 'ThresholdedRelu',
    f: (attributes) => (x) => (x > alphaOf(attributes) ? x : 0),
    gradient: (ctx, dY) => {
      const x = ctx.input(0);
      const alpha = scalarLike(ctx.b, x, alphaOf(ctx.attributes));
      return ctx.b.op('revnetify.ClipGrad', [x, dY, alpha]);
    },
    cost: 1,
  }),
  samples: (random) => [
    { label: 'default corner', inputs: [awayFrom(random, [2, 3, 4], 1)] },
    {
      label: 'corner below 0',
      inputs: [awayFrom(random, [2, 3, 4], -0.5)],
      attributes: new Attributes({ alpha: float(-0.5) }),
    },
  ],
};

// ---- PRelu

/** PRelu(X, slope): slope·X below 0; the slope is trained and repeated over X; He et al. 2015. */
const pRelu = defineOp({
  type: 'PRelu',
  parameters: [1],
  infer: (ctx) => {
    const type = ctx.type(0);
    if (!type.shape) return [type];
    const own = ctx.shape(1);
    const wide = broadcastShapes(ctx, [type.shape, own]);
    if (wide.length > type.shape.length || wide.some((d, i) => d !== type.shape?.[i]))
      ctx.fail(`the slope [${own.join(',')}] cannot be repeated to [${type.shape.join(',')}]`);
    return [type];
  },
  evaluate: (ctx) => {
    const x = ctx.input(0);
    const slope = broadcastTo(ctx.input(1), x.dims);
    return [zipElements(x, slope, (value, s) => (value < 0 ? s * value : value))];
  },
  gradient: (ctx) => {
    const { b } = ctx;
    const [x, slope, dY] = [ctx.input(0), ctx.input(1), ctx.grad()];
    const dX = (): Value => {
      const positive = b.op('Greater', [x, scalarLike(b, x, 0)]);
      return b.op('Where', [positive, dY, times(b, dY, slope)]);
    };
    return [
      ctx.wants(0) ? dX() : undefined,
      ctx.wants(1) ? unbroadcast(b, times(b, dY, negativePart(b, x)), slope.shape) : undefined,
    ];
  },
  flops: (ctx) => 2 * outputSize(ctx),
  keepsShape: true,
  axes: broadcastAxes,
  initial: () => ({ value: 0.25 }),
  guard: guardSmallest,
  samples: (random) => {
    const x = (): Tensor => awayFrom(random, [2, 3, 4, 2]);
    return [
      { label: 'slope per channel', inputs: [x(), random.tensor([3, 1, 1], 0.2, 0.3)] },
      { label: 'one slope', inputs: [x(), random.tensor([1], 0.2, 0.3)] },
      { label: 'slope per element', inputs: [x(), random.tensor([2, 3, 4, 2], 0.2, 0.3)] },
      { label: 'slope of the last axis', inputs: [awayFrom(random, [4, 5]), random.tensor([5])] },
    ];
  },
});

// ---- Hardmax

/** 1 at the first maximum along an axis, 0 elsewhere. */
const hardmax = defineOp({
  type: 'Hardmax',
  infer: (ctx) => {
    const type = ctx.type(0);
    if (type.shape) inferAxis(ctx, type.shape.length, -1);
    return [type];
  },
  evaluate: (ctx) => {
    const x = ctx.input(0);
    const axis = axisOf(ctx.attributes, x.dims.length, -1);
    const extent = x.dims[axis] ?? 1;
    const inner = elementCount(x.dims.slice(axis + 1));
    const out = Tensor.zeros(x.dtype, x.dims);
    for (let start = 0; start < x.size; start += extent * inner)
      for (let k = start; k < start + inner; k++) {
        let best = k;
        for (let i = k; i < k + extent * inner; i += inner)
          if ((x.data[i] as number) > (x.data[best] as number)) best = i;
        out.data[best] = 1;
      }
    return [out];
  },
  nonDifferentiable: true,
  flops: outputSize,
  keepsShape: true,
  samples: (random) => [
    { label: 'last axis', inputs: [random.tensor([3, 5])] },
    {
      label: 'axis 1 of 3',
      inputs: [random.tensor([2, 3, 4])],
      attributes: new Attributes({ axis: int(1) }),
    },
    { label: 'first of equals', inputs: [Tensor.of('float32', [4], [1, 3, 3, 0])] },
  ],
});

export const activationCurvedOps: readonly OpDefinition[] = [
  elu,
  selu,
  celu,
  softplus,
  softsign,
  thresholdedRelu,
  pRelu,
  hardmax,
];
