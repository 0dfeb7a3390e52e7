// Normalization without trained numbers: LpNormalization along one axis, LRN across neighbouring channels. In: X. Out: the
// same shape. Invariant: the gradients read X and the result, sums are taken anew.

import { Attributes, Tensor, elementCount, float, int, ints } from '../ir/index.js';
import type { Value } from '../ir/index.js';
import {
  axisOf,
  impossible,
  inferAxis,
  noGradient,
  outputSize,
  reduceSum,
  reshapeLike,
  scalarLike,
} from './broadcast.js';
import { defineOp } from './definition.js';
import type { GradientContext, OpDefinition } from './definition.js';

const get = (data: Float64Array, i: number): number => data[i] as number;

// ---- LpNormalization

/** X / ‖X‖ along one axis, p = 1 or 2; a row of zeros stays one. */
const lpNormalization = defineOp({
  type: 'LpNormalization',
  infer: (ctx) => {
    const type = ctx.type(0);
    if (type.shape) inferAxis(ctx, type.shape.length, -1);
    const p = ctx.attributes.int('p', 2);
    if (p !== 1 && p !== 2) ctx.fail(`p is ${p}, not 1 or 2`);
    return [type];
  },
  evaluate: (ctx) => {
    const x = ctx.input(0);
    const axis = axisOf(ctx.attributes, x.dims.length, -1);
    const p = ctx.attributes.int('p', 2);
    const inner = elementCount(x.dims.slice(axis + 1));
    const step = (x.dims[axis] ?? impossible('no axis')) * inner;
    const out = Tensor.zeros(x.dtype, x.dims);
    for (let start = 0; start < x.size; start += step)
      for (let k = start; k < start + inner; k++) {
        let sum = 0;
        for (let i = k; i < k + step; i += inner) sum += Math.abs(get(x.data, i)) ** p;
        const norm = sum ** (1 / p);
        for (let i = k; i < k + step; i += inner)
          out.data[i] = norm === 0 ? 0 : get(x.data, i) / norm;
      }
    return [out];
  },
  gradient: (ctx) => {
    if (!ctx.wants(0)) return [];
    const { b } = ctx;
    const [x, y, dY] = [ctx.input(0), ctx.output(), ctx.grad()];
    const axis = axisOf(ctx.attributes, x.shape?.length ?? 0, -1);
    const sum = (value: Value): Value => reduceSum(b, value, [axis], true);
    const share = sum(b.op('Mul', [dY, y]));
    // dX = (dY − d‖x‖/dx · Σ dY·y) / ‖x‖, with d‖x‖/dx = sign(x) for p = 1 and y for p = 2.
    if (ctx.attributes.int('p', 2) === 1) {
      const rest = b.op('Sub', [dY, b.op('Mul', [b.op('Sign', [x]), share])]);
      return [b.op('Div', [rest, sum(b.op('Abs', [x]))])];
    }
    const norm = b.op('Sqrt', [sum(b.op('Mul', [x, x]))]);
    return [b.op('Div', [b.op('Sub', [dY, b.op('Mul', [y, share])]), norm])];
  },
  flops: (ctx) => 4 * outputSize(ctx),
  keepsShape: true,
  samples: (random) => [
    { label: 'last axis', inputs: [random.tensor([3, 5])] },
    {
      label: 'axis 1 of 4',
      inputs: [random.tensor([2, 3, 4, 2])],
      attributes: new Attributes({ axis: int(1) }),
    },
    {
      label: 'sum of magnitudes',
      inputs: [random.tensor([3, 5], 1, 0.3)],
      attributes: new Attributes({ p: int(1) }),
    },
  ],
});

// ---- LRN

interface Response {
  readonly size: number;
  readonly alpha: number;
  readonly beta: number;
  readonly bias: number;
  /** Channels of the window on either side of its own. */
  readonly reach: number;
}

function responseOf(attributes: Attributes): Response {
  const size = attributes.int('size', 1);
  return {
    size,
    alpha: attributes.float('alpha', 1e-4),
    beta: attributes.float('beta', 0.75),
    bias: attributes.float('bias', 1),
    reach: (size - 1) / 2,
  };
}

/** Averages over `size` neighbouring channels, what lies outside counting as 0: one pooling over [N,1,C,…]. */
function windowMean(ctx: GradientContext, x: Value, reach: number): Value {
  const { b } = ctx;
  const channels = x.shape?.[1];
  if (typeof channels !== 'number') return noGradient(ctx.node, 'the channels are not known');
  const column = b.op('Reshape', [x, b.ints(0, 1, channels, -1)]);
  const pooled = b.op('AveragePool', [column], {
    attributes: {
      kernel_shape: ints([2 * reach + 1, 1]),
      pads: ints([reach, 0, reach, 0]),
      count_include_pad: int(1),
    },
  });
  return reshapeLike(b, pooled, x);
}

/**
 * LRN(X [N,C,…]; size, alpha, beta, bias) = X / s^beta with s = bias + alpha · the average of X² over `size` channels;
 * Krizhevsky et al. 2012, section 3.3.
 */
const lrn = defineOp({
  type: 'LRN',
  infer: (ctx) => {
    const type = ctx.type(0);
    const size = ctx.attributes.int('size') ?? ctx.fail('it has no attribute size');
    if (size < 1 || size % 2 === 0) ctx.fail(`size is ${size}; ONNX Runtime has odd windows only`);
    if (type.shape && type.shape.length !== 4) ctx.fail(`X has rank ${type.shape.length}, not 4`);
    return [type];
  },
  evaluate: (ctx) => {
    const x = ctx.input(0);
    const { size, alpha, beta, bias, reach } = responseOf(ctx.attributes);
    const channels = x.dims[1] ?? 1;
    const inner = elementCount(x.dims.slice(2));
    const out = Tensor.zeros(x.dtype, x.dims);
    for (let i = 0; i < x.size; i++) {
      const c = Math.floor(i / inner) % channels;
      let sum = 0;
      for (let k = Math.max(0, c - reach); k <= Math.min(channels - 1, c + reach); k++)
        sum += get(x.data, i + (k - c) * inner) ** 2;
      out.data[i] = get(x.data, i) / (bias + (alpha / size) * sum) ** beta;
    }
    return [out];
  },
  gradient: (ctx) => {
    if (!ctx.wants(0)) return [];
    const { b } = ctx;
    const { alpha, beta, bias, reach } = responseOf(ctx.attributes);
    const [x, y, dY] = [ctx.input(0), ctx.output(), ctx.grad()];
    const squares = windowMean(ctx, b.op('Mul', [x, x]), reach);
    const s = b.op('Add', [
      b.op('Mul', [squares, scalarLike(b, x, alpha)]),
      scalarLike(b, x, bias),
    ]);
    const direct = b.op('Mul', [dY, b.op('Pow', [s, scalarLike(b, x, -beta)])]);
    // A channel lies in the windows of the neighbours that lie in its own.
    const pull = b.op('Div', [b.op('Mul', [dY, y]), s]);
    const felt = b.op('Mul', [x, windowMean(ctx, pull, reach)]);
    return [b.op('Sub', [direct, b.op('Mul', [felt, scalarLike(b, x, 2 * alpha * beta)])])];
  },
  flops: (ctx) => (12 + responseOf(ctx.attributes).size) * outputSize(ctx),
  keepsShape: true,
  samples: (random) =>
    [
      { label: 'three channels', dims: [2, 5, 2, 3], size: 3 },
      { label: 'five channels', dims: [2, 7, 3, 1], size: 5 },
      { label: 'a window wider than the channels', dims: [1, 3, 2, 2], size: 7 },
    ].map(({ label, dims, size }) => ({
      label,
      inputs: [random.tensor(dims, 1.5)],
      attributes: new Attributes({
        size: int(size),
        alpha: float(0.5),
        beta: float(0.6),
        bias: float(1.5),
      }),
    })),
});

export const normLpOps: readonly OpDefinition[] = [lpNormalization, lrn];
