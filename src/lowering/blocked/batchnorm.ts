// Batch norm of a training step in the blocked layout. In: BatchNormTrain, BatchNormApply, BatchNormGrad. Out: the same
// results. Invariant: X is centred before it is squared and summed, or a mean of many deviations would cancel most digits
// away; forward pass and recompute round alike.

import { Tensor, elementCount } from '../../ir/index.js';
import type { Node, Value } from '../../ir/index.js';
import { DEFAULT_EPSILON } from '../../ops/channels.js';
import { scalarLike } from '../../ops/index.js';
import { dimsOf, isMultiple } from './definition.js';
import type { BlockedContext, BlockedLowering } from './definition.js';

const applies = (node: Node, block: number): boolean => isMultiple(dimsOf(node.input(0))[1], block);

/** X less a mean per channel. */
function centred(ctx: BlockedContext, x: Value, mean: Value): Value {
  const { b, s } = ctx;
  const [channels = 0] = dimsOf(mean);
  const ones = b.constant(
    Tensor.of('float32', [channels], new Array<number>(channels).fill(1)),
    'ones',
  );
  return s.perChannel(x, ones, { bias: b.op('Neg', [mean], { name: 'shift' }) });
}

/**
 * The product; its operands change places behind the forward pass. It is the same to the last bit, and ONNX Runtime does not
 * keep that of the forward pass for it.
 */
function product(ctx: BlockedContext, x: Value, y: Value, name: string): Value {
  return ctx.b.op('Mul', ctx.node.phase === 'forward' ? [x, y] : [y, x], { name });
}

/** 1/√(variance + ε); the sum is written differently in each phase, too. */
function inverseDeviation(ctx: BlockedContext, variance: Value): Value {
  const { b, attributes, node } = ctx;
  const epsilon = attributes.float('epsilon', DEFAULT_EPSILON);
  const scalar = (value: number): Value => scalarLike(b, variance, value);
  const sum =
    node.phase === 'forward'
      ? b.op('Add', [variance, scalar(epsilon)])
      : node.phase === 'recompute'
        ? b.op('Add', [scalar(epsilon), variance])
        : b.op('Sub', [variance, scalar(-epsilon)]);
  return b.op('Reciprocal', [b.op('Sqrt', [sum], { name: 'deviation' })], { name: 'inverse' });
}

/** X·scale + (beta − mean·scale) in one pass, in the forward pass and in the recompute. */
function normalized(ctx: BlockedContext, x: Value, mean: Value, variance: Value): Value {
  const { b, s } = ctx;
  const [gamma, beta] = [ctx.input(1), ctx.input(2)];
  const scale = product(ctx, gamma, inverseDeviation(ctx, variance), 'scale');
  const bias = b.op('Sub', [beta, product(ctx, mean, scale, 'product')], { name: 'bias' });
  return s.perChannel(x, scale, { bias });
}

/** What one element adds to a mean over all but the channels. */
const shareOf = (dims: readonly number[]): number => (dims[1] ?? 0) / elementCount(dims);

const train: BlockedLowering = {
  type: 'BatchNormTrain',
  maps: 1,
  follows: true,
  applies,
  build(ctx) {
    const { b, s } = ctx;
    const x = ctx.blocked(0);
    const mean = s.channelMean(x);
    const centre = centred(ctx, x, mean);
    const share = scalarLike(b, mean, shareOf(ctx.shape(0)));
    const variance = b.op('Mul', [s.channelDot(centre, centre), share], { name: 'variance' });
    return [normalized(ctx, x, mean, variance), mean, variance];
  },
};

const apply: BlockedLowering = {
  type: 'BatchNormApply',
  maps: 1,
  follows: true,
  applies,
  build: (ctx) => [normalized(ctx, ctx.blocked(0), ctx.input(3), ctx.input(4))],
};

/**
 * dX = A·dY − x̂·A·dgamma/M − A·dbeta/M with A = gamma/σ. x̂ is made in one pass and not of the centred X of the forward pass,
 * which ONNX Runtime would keep for it.
 */
const grad: BlockedLowering = {
  type: 'BatchNormGrad',
  maps: 2,
  follows: true,
  applies,
  build(ctx) {
    const { b, s } = ctx;
    const dims = ctx.shape(0);
    const [dY, gamma] = [ctx.blocked(1), ctx.input(2)];
    const inverse = inverseDeviation(ctx, ctx.input(4));
    const scalar = (value: number): Value => scalarLike(b, gamma, value);
    const offset = b.op('Neg', [b.op('Mul', [ctx.input(3), inverse])], { name: 'offset' });
    const normal = s.perChannel(ctx.blocked(0), inverse, { bias: offset });
    const meanGradient = s.channelMean(dY);
    const dBeta = b.op('Mul', [meanGradient, scalar(1 / shareOf(dims))], { name: 'dBeta' });
    // Rounding of the mean, which would enter times Σ dY, is taken out again.
    const residue = b.op('Mul', [dBeta, s.channelMean(normal)], { name: 'residue' });
    const dGamma = b.op('Sub', [s.channelDot(normal, dY), residue], { name: 'dGamma' });
    if (!ctx.reads(0)) return [undefined, dGamma, dBeta];
    const scale = b.op('Mul', [gamma, inverse], { name: 'scale' });
    const share = b.op('Mul', [scale, scalar(-shareOf(dims))], { name: 'share' });
    const slope = b.op('Mul', [share, dGamma], { name: 'slope' });
    const shift = b.op('Neg', [b.op('Mul', [scale, meanGradient])], { name: 'shift' });
    const line = s.perChannel(normal, slope, {});
    return [s.perChannel(dY, scale, { bias: shift, sum: line }), dGamma, dBeta];
  },
};

export const blockedBatchNorms: readonly BlockedLowering[] = [train, apply, grad];
