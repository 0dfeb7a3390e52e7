// Batch norm in training as ai.onnx nodes: the kernel BatchNormalization on the CPU, primitives elsewhere. In:
// BatchNormTrain, BatchNormApply, BatchNormGrad. Out: the same results. Invariant: X is centred before it is
// multiplied by a gradient and summed, or a mean of many deviations would cancel most digits away.

import { Tensor, elementCount, float, int, ints } from '../ir/index.js';
import type { Value } from '../ir/index.js';
import { DEFAULT_EPSILON, channelSum, perChannel, statisticAxes } from '../ops/channels.js';
import { scalarLike } from '../ops/index.js';
import type { Builder } from '../ops/index.js';
import { defineLowering } from './definition.js';
import type { LowerContext, Lowering } from './definition.js';

const epsilonOf = (ctx: LowerContext): number => ctx.attributes.float('epsilon', DEFAULT_EPSILON);

const filled = (like: Value, value: number, channels: number): Tensor =>
  Tensor.of(like.type?.dtype ?? 'float32', [channels], new Array<number>(channels).fill(value));

/** √(variance + ε), of the variance's shape. */
const deviationOf = (b: Builder, variance: Value, epsilon: number): Value =>
  b.op('Sqrt', [b.op('Add', [variance, scalarLike(b, variance, epsilon)])], { name: 'deviation' });

// ---- forward

const trainByKernel = (ctx: LowerContext): (Value | undefined)[] => {
  const { b } = ctx;
  const [x, gamma, beta] = [ctx.input(0), ctx.input(1), ctx.input(2)];
  const channels = ctx.shape(0)[1] ?? 0;
  // Of its own, with a value of its own: the kernel writes over them, and ONNX Runtime makes one of equal constants of
  // up to 8 elements, so that networks with so few channels got the statistics of another node.
  const own = b.graph.constants.size + 0.5;
  const mean = b.freshConstant(filled(gamma, own, channels), 'runningMean');
  const variance = b.freshConstant(filled(gamma, own + 0.25, channels), 'runningVariance');
  // With momentum 0 the running statistics that come out are those of the batch.
  return b.node('BatchNormalization', [x, gamma, beta, mean, variance], {
    attributes: { epsilon: float(epsilonOf(ctx)), momentum: float(0), training_mode: int(1) },
    outputs: 3,
  }).outputs;
};

const trainByPrimitives = (ctx: LowerContext): (Value | undefined)[] => {
  const { b } = ctx;
  const [x, gamma, beta] = [ctx.input(0), ctx.input(1), ctx.input(2)];
  const rank = ctx.shape(0).length;
  const vector = (kept: Value, name: string): Value =>
    b.op('Reshape', [kept, b.ints(-1)], { name });
  const average = (value: Value, name: string): Value =>
    b.op('ReduceMean', [value], {
      attributes: { axes: ints(statisticAxes(rank)), keepdims: int(1) },
      name,
    });
  const mean = average(x, 'mean');
  const centred = b.op('Sub', [x, mean], { name: 'centred' });
  const variance = average(b.op('Mul', [centred, centred], { name: 'squares' }), 'variance');
  const deviation = deviationOf(b, variance, epsilonOf(ctx));
  const scale = b.op('Div', [perChannel(b, gamma, rank), deviation], { name: 'scale' });
  const scaled = b.op('Mul', [centred, scale], { name: 'scaled' });
  return [
    b.op('Add', [scaled, perChannel(b, beta, rank)], { name: 'Y' }),
    ctx.reads(1) ? vector(mean, 'batchMean') : undefined,
    ctx.reads(2) ? vector(variance, 'batchVariance') : undefined,
  ];
};

/**
 * The training kernel once more, on the recomputed X, whose statistics are the given ones: it rounds as the
 * forward pass did. The inference kernel differs in a fifth of the elements by one rounding, and each that
 * thereby changes sign flips a ReLU (ResNet-50, batch 4: the gradient moved by 2.8e-3).
 */
const applyByKernel = (ctx: LowerContext): (Value | undefined)[] => [trainByKernel(ctx)[0]];

/** With the saved statistics, in the very order of operations of trainByPrimitives: the same rounding. */
const applyByPrimitives = (ctx: LowerContext): Value[] => {
  const { b } = ctx;
  const rank = ctx.shape(0).length;
  const [gamma, beta, mean, variance] = [1, 2, 3, 4].map((i) => perChannel(b, ctx.input(i), rank));
  const deviation = deviationOf(b, variance as Value, epsilonOf(ctx));
  const centred = b.op('Sub', [ctx.input(0), mean], { name: 'centred' });
  const scale = b.op('Div', [gamma, deviation], { name: 'scale' });
  const scaled = b.op('Mul', [centred, scale], { name: 'scaled' });
  return [b.op('Add', [scaled, beta], { name: 'Y' })];
};

// ---- gradient

const gradOperands = (
  ctx: LowerContext,
): Readonly<Record<'x' | 'dY' | 'gamma' | 'mean' | 'variance', Value>> => ({
  x: ctx.input(0),
  dY: ctx.input(1),
  gamma: ctx.input(2),
  mean: ctx.input(3),
  variance: ctx.input(4),
});

/** Up to this many elements per plane, the product as a temporary is cheaper than so many tiny convolutions. */
const SMALL_PLANE = 64;

/**
 * Σ x·y over all but the channels. A depthwise convolution whose kernel is the whole plane needs no temporary
 * for the product.
 */
function channelDot(b: Builder, x: Value, y: Value, dims: readonly number[]): Value {
  const [batch = 0, channels = 0, ...plane] = dims;
  if (elementCount(plane) <= SMALL_PLANE)
    return channelSum(b, b.op('Mul', [x, y], { name: 'products' }), dims.length);
  const data = b.op('Reshape', [x, b.ints(1, batch * channels, ...plane)]);
  const kernel = b.op('Reshape', [y, b.ints(batch * channels, 1, ...plane)]);
  const dots = b.op('Conv', [data, kernel], {
    attributes: { group: int(batch * channels), kernel_shape: ints(plane) },
    name: 'dots',
  });
  return b.op('ReduceSum', [b.op('Reshape', [dots, b.ints(batch, channels)]), b.ints(0)], {
    attributes: { keepdims: int(0) },
    name: 'channelDot',
  });
}

/**
 * Σ (dY − mean dY)·x as Σ dY·x − Σ dY · mean x, which needs no centred copy of dY. With x centred but for
 * rounding, mean x is tiny: nothing cancels, and the rounding of the mean is taken out again.
 */
function covariance(
  b: Builder,
  dot: Value,
  dBeta: Value,
  x: Value,
  dims: readonly number[],
): Value {
  const share = scalarLike(b, x, (dims[1] ?? 0) / elementCount(dims));
  const mean = b.op('Mul', [channelSum(b, x, dims.length), share], { name: 'residue' });
  return b.op('Sub', [dot, b.op('Mul', [dBeta, mean])], { name: 'covariance' });
}

/**
 * dX = A·dY + (x̂·(−A·dgamma/M) − A·dbeta/M) with A = gamma/√(var + ε): the bracket is one inference-mode
 * BatchNormalization of X. x̂ is made twice rather than kept: it is a pass over memory either way, and so one
 * temporary less is alive beside dY.
 */
const gradByKernel = (ctx: LowerContext): (Value | undefined)[] => {
  const { b } = ctx;
  const { x, dY, gamma, mean, variance } = gradOperands(ctx);
  const dims = ctx.shape(0);
  const channels = dims[1] ?? 0;
  const epsilon = epsilonOf(ctx);
  const normalized = (scale: Value, bias: Value, name: string): Value =>
    b.op('BatchNormalization', [x, scale, bias, mean, variance], {
      attributes: { epsilon: float(epsilon) },
      name,
    });
  const dBeta = channelSum(b, dY, dims.length);
  const one = b.constant(filled(gamma, 1, channels), 'ones');
  const zero = b.constant(filled(gamma, 0, channels), 'zeros');
  const normal = normalized(one, zero, 'normal');
  const dGamma = covariance(b, channelDot(b, dY, normal, dims), dBeta, normal, dims);
  if (!ctx.reads(0)) return [undefined, dGamma, dBeta];
  const scale = b.op('Div', [gamma, deviationOf(b, variance, epsilon)], { name: 'scale' });
  const share = b.op('Mul', [scale, scalarLike(b, scale, -channels / elementCount(dims))], {
    name: 'share',
  });
  const slope = b.op('Mul', [share, dGamma], { name: 'slope' });
  const shift = b.op('Mul', [share, dBeta], { name: 'shift' });
  const line = normalized(slope, shift, 'line');
  const scaled = b.op('Mul', [dY, perChannel(b, scale, dims.length)], { name: 'scaled' });
  return [b.op('Add', [scaled, line], { name: 'dX' }), dGamma, dBeta];
};

const gradByPrimitives = (ctx: LowerContext): (Value | undefined)[] => {
  const { b } = ctx;
  const { x, dY, gamma, mean, variance } = gradOperands(ctx);
  const dims = ctx.shape(0);
  const rank = dims.length;
  const wide = (vector: Value): Value => perChannel(b, vector, rank);
  const deviation = deviationOf(b, variance, epsilonOf(ctx));
  const centred = b.op('Sub', [x, wide(mean)], { name: 'centred' });
  const dBeta = channelSum(b, dY, rank);
  const dot = channelSum(b, b.op('Mul', [dY, centred], { name: 'products' }), rank);
  const sum = covariance(b, dot, dBeta, centred, dims);
  const dGamma = b.op('Div', [sum, deviation], { name: 'dGamma' });
  if (!ctx.reads(0)) return [undefined, dGamma, dBeta];
  const scale = b.op('Div', [gamma, deviation], { name: 'scale' });
  const share = scalarLike(b, scale, (dims[1] ?? 0) / elementCount(dims));
  const slope = b.op('Mul', [b.op('Div', [dGamma, deviation]), share], { name: 'slope' });
  const shift = b.op('Mul', [dBeta, share], { name: 'shift' });
  const explained = b.op('Mul', [centred, wide(slope)], { name: 'explained' });
  const rest = b.op('Sub', [b.op('Sub', [dY, explained]), wide(shift)], { name: 'rest' });
  return [b.op('Mul', [rest, wide(scale)], { name: 'dX' }), dGamma, dBeta];
};

export const batchNormLowerings: readonly Lowering[] = [
  defineLowering({
    type: 'BatchNormTrain',
    rules: { cpu: trainByKernel, portable: trainByPrimitives },
  }),
  defineLowering({
    type: 'BatchNormApply',
    rules: { cpu: applyByKernel, portable: applyByPrimitives },
  }),
  defineLowering({
    type: 'BatchNormGrad',
    rules: { cpu: gradByKernel, portable: gradByPrimitives },
  }),
];
