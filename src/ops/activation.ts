// Activation functions and their gradient steps. In: X. Out: the same shape. Invariant: at a corner (0 for
// Relu, the limits of Clip) the gradient is 0, as PyTorch has it for ReLU and ReLU6, so the mask can be
// read off the result as well as off the operand.

import { Attributes, Tensor, float } from '../ir/index.js';
import type { Value } from '../ir/index.js';
import { mapElements, outputSize, scalarLike, zipElements } from './broadcast.js';
import { REVNETIFY, defineOp } from './definition.js';
import type { GradientContext, OpDefinition } from './definition.js';
import type { Random } from './random.js';

/** Numbers away from the corner at 0, where finite differences mean nothing. */
const awayFromZero = (random: Random, dims: readonly number[]): Tensor =>
  mapElements(random.tensor(dims), (x) => Math.fround(x + (x < 0 ? -0.1 : 0.1)));

const reluGradient = (ctx: GradientContext): (Value | undefined)[] => [
  ctx.wants(0) ? ctx.b.op('revnetify.ReluGrad', [ctx.output(), ctx.grad()]) : undefined,
];

// ---- Relu

const relu = defineOp({
  type: 'Relu',
  infer: (ctx) => [ctx.type(0)],
  evaluate: (ctx) => [mapElements(ctx.input(0), (x) => Math.max(x, 0))],
  gradient: reluGradient,
  flops: outputSize,
  keepsShape: true,
  // The maximum with the token instead of the maximum with 0: waiting costs nothing.
  guard(node, token) {
    node.op = 'ReluGuarded';
    node.domain = REVNETIFY;
    node.addInput(token);
  },
  samples: (random) => [
    { label: 'rank 4', inputs: [awayFromZero(random, [2, 3, 4, 2])] },
    { label: 'scalar', inputs: [awayFromZero(random, [])] },
  ],
});

/** ReluGuarded(X, token): the maximum of X and a scalar that is always 0. */
const reluGuarded = defineOp({
  type: 'ReluGuarded',
  domain: REVNETIFY,
  infer: (ctx) => [ctx.type(0)],
  evaluate: (ctx) => [zipElements(ctx.input(0), ctx.input(1), Math.max)],
  gradient: reluGradient,
  flops: outputSize,
  keepsShape: true,
  samples: (random) => [
    {
      label: 'rank 4',
      inputs: [awayFromZero(random, [2, 3, 4, 2]), Tensor.scalar(0)],
      differentiable: [0],
    },
  ],
});

/** ReluGrad(Y, dY): dY where Y > 0. Y may be the operand of the Relu as well as its result. */
const reluGrad = defineOp({
  type: 'ReluGrad',
  domain: REVNETIFY,
  infer: (ctx) => [ctx.type(1)],
  evaluate: (ctx) => [zipElements(ctx.input(1), ctx.input(0), (g, y) => (y > 0 ? g : 0))],
  flops: outputSize,
  samples: (random) => [
    {
      label: 'half of it zeros',
      inputs: [
        mapElements(random.tensor([2, 3, 4, 2]), (x) => Math.max(x, 0)),
        random.tensor([2, 3, 4, 2]),
      ],
      differentiable: [],
    },
  ],
});

// ---- Clip

const limit = (tensor: Tensor | undefined, fallback: number): number => tensor?.data[0] ?? fallback;

/** Clip(X, min?, max?): the limits are scalars and may be left out. */
const clip = defineOp({
  type: 'Clip',
  infer: (ctx) => [ctx.type(0)],
  evaluate: (ctx) => {
    const low = limit(ctx.inputs[1], -Infinity);
    const high = limit(ctx.inputs[2], Infinity);
    return [mapElements(ctx.input(0), (x) => Math.min(high, Math.max(low, x)))];
  },
  gradient: (ctx) => {
    if (!ctx.wants(0)) return [];
    const low = ctx.has(1) ? ctx.input(1) : undefined;
    const high = ctx.has(2) ? ctx.input(2) : undefined;
    // The result lies strictly between the limits exactly where X does, and is at hand anyway.
    return [ctx.b.op('revnetify.ClipGrad', [ctx.output(), ctx.grad(), low, high])];
  },
  flops: (ctx) => 2 * outputSize(ctx),
  keepsShape: true,
  samples: (random) => {
    const x = (): Tensor => random.tensor([2, 3, 4], 4, 2);
    return [
      {
        label: 'both limits',
        inputs: [x(), Tensor.scalar(0), Tensor.scalar(6)],
        constants: [1, 2],
        differentiable: [0],
      },
      {
        label: 'only a lower limit',
        inputs: [x(), Tensor.scalar(1)],
        constants: [1],
        differentiable: [0],
      },
      {
        label: 'only an upper limit',
        inputs: [x(), undefined, Tensor.scalar(1)],
        constants: [2],
        differentiable: [0],
      },
      { label: 'no limit', inputs: [x()] },
    ];
  },
});

/** ClipGrad(X, dY, min?, max?): dY where min < X < max. X may be the result of the Clip as well. */
const clipGrad = defineOp({
  type: 'ClipGrad',
  domain: REVNETIFY,
  infer: (ctx) => [ctx.type(1)],
  evaluate: (ctx) => {
    const low = limit(ctx.inputs[2], -Infinity);
    const high = limit(ctx.inputs[3], Infinity);
    return [zipElements(ctx.input(1), ctx.input(0), (g, x) => (x > low && x < high ? g : 0))];
  },
  flops: (ctx) => 2 * outputSize(ctx),
  samples: (random) => {
    const six = (x: number): number => Math.fround(Math.min(6, Math.max(0, x)));
    const y = mapElements(random.tensor([2, 3, 4], 4, 3), six);
    const dY = random.tensor([2, 3, 4]);
    return [
      {
        label: 'both limits',
        inputs: [y, dY, Tensor.scalar(0), Tensor.scalar(6)],
        differentiable: [],
      },
      { label: 'lower limit', inputs: [y, dY, Tensor.scalar(0)], differentiable: [] },
      {
        label: 'upper limit',
        inputs: [y, dY, undefined, Tensor.scalar(6)],
        differentiable: [],
      },
      { label: 'no limit', inputs: [y, dY], differentiable: [] },
    ];
  },
});

// ---- smooth ones, differentiated by primitives

const sigmoid = defineOp({
  type: 'Sigmoid',
  infer: (ctx) => [ctx.type(0)],
  evaluate: (ctx) => [mapElements(ctx.input(0), (x) => 1 / (1 + Math.exp(-x)))],
  gradient: (ctx) => {
    if (!ctx.wants(0)) return [];
    const { b } = ctx;
    const y = ctx.output();
    const slope = b.op('Mul', [y, b.op('Sub', [scalarLike(b, y, 1), y])]);
    return [b.op('Mul', [ctx.grad(), slope])];
  },
  flops: (ctx) => 10 * outputSize(ctx),
  keepsShape: true,
  samples: (random) => [{ label: 'rank 3', inputs: [random.tensor([2, 3, 4], 2)] }],
});

const tanh = defineOp({
  type: 'Tanh',
  infer: (ctx) => [ctx.type(0)],
  evaluate: (ctx) => [mapElements(ctx.input(0), Math.tanh)],
  gradient: (ctx) => {
    if (!ctx.wants(0)) return [];
    const { b } = ctx;
    const y = ctx.output();
    const slope = b.op('Sub', [scalarLike(b, y, 1), b.op('Mul', [y, y])]);
    return [b.op('Mul', [ctx.grad(), slope])];
  },
  flops: (ctx) => 10 * outputSize(ctx),
  keepsShape: true,
  samples: (random) => [{ label: 'rank 3', inputs: [random.tensor([2, 3, 4], 1.5)] }],
});

const alphaOf = (attributes: Attributes): number => attributes.float('alpha', 0.01);

const leakyRelu = defineOp({
  type: 'LeakyRelu',
  infer: (ctx) => [ctx.type(0)],
  evaluate: (ctx) => {
    const alpha = alphaOf(ctx.attributes);
    return [mapElements(ctx.input(0), (x) => (x < 0 ? alpha * x : x))];
  },
  gradient: (ctx) => {
    if (!ctx.wants(0)) return [];
    const { b } = ctx;
    const x = ctx.input(0);
    const grad = ctx.grad();
    const damped = b.op('Mul', [grad, scalarLike(b, grad, alphaOf(ctx.attributes))]);
    return [b.op('Where', [b.op('Greater', [x, scalarLike(b, x, 0)]), grad, damped])];
  },
  flops: (ctx) => 2 * outputSize(ctx),
  keepsShape: true,
  samples: (random) => [
    { label: 'default slope', inputs: [awayFromZero(random, [2, 3, 4])] },
    {
      label: 'slope 0.25',
      inputs: [awayFromZero(random, [2, 3, 4])],
      attributes: new Attributes({ alpha: float(0.25) }),
    },
  ],
});

// ---- hard ones: straight lines between corners

/** max(0, min(1, alpha·x + beta)). */
const hardSigmoidOf =
  (alpha: number, beta: number) =>
  (x: number): number =>
    Math.max(0, Math.min(1, alpha * x + beta));

const hardSigmoid = defineOp({
  type: 'HardSigmoid',
  infer: (ctx) => [ctx.type(0)],
  evaluate: (ctx) => {
    const { attributes } = ctx;
    const [alpha, beta] = [attributes.float('alpha', 0.2), attributes.float('beta', 0.5)];
    return [mapElements(ctx.input(0), hardSigmoidOf(alpha, beta))];
  },
  gradient: (ctx) => {
    if (!ctx.wants(0)) return [];
    const { b } = ctx;
    const [y, dY] = [ctx.output(), ctx.grad()];
    const alpha = scalarLike(b, dY, ctx.attributes.float('alpha', 0.2));
    const [zero, one] = [scalarLike(b, y, 0), scalarLike(b, y, 1)];
    return [b.op('revnetify.ClipGrad', [y, b.op('Mul', [dY, alpha]), zero, one])];
  },
  flops: (ctx) => 4 * outputSize(ctx),
  keepsShape: true,
  samples: (random) => [
    { label: 'default line', inputs: [random.tensor([2, 3, 4], 2.5)] },
    {
      label: 'other line',
      inputs: [random.tensor([2, 3, 4], 2.5)],
      attributes: new Attributes({ alpha: float(0.4), beta: float(0.3) }),
    },
  ],
});

/** HardSwish(X) = X · max(0, min(1, X/6 + 1/2)); Howard et al. 2019. */
const hardSwish = defineOp({
  type: 'HardSwish',
  infer: (ctx) => [ctx.type(0)],
  evaluate: (ctx) => {
    const gate = hardSigmoidOf(1 / 6, 0.5);
    return [mapElements(ctx.input(0), (x) => x * gate(x))];
  },
  gradient: (ctx) => {
    if (!ctx.wants(0)) return [];
    const { b } = ctx;
    const x = ctx.input(0);
    const gate = b.op('HardSigmoid', [x], {
      attributes: { alpha: float(1 / 6), beta: float(0.5) },
      name: 'gate',
    });
    const sixth = b.op('Mul', [x, scalarLike(b, x, 1 / 6)]);
    const limits = [scalarLike(b, x, -3), scalarLike(b, x, 3)];
    const slope = b.op('Add', [gate, b.op('revnetify.ClipGrad', [x, sixth, ...limits])]);
    return [b.op('Mul', [ctx.grad(), slope])];
  },
  flops: (ctx) => 5 * outputSize(ctx),
  keepsShape: true,
  samples: (random) => [
    { label: 'rank 4', inputs: [random.tensor([2, 3, 4, 2], 2.5)] },
    { label: 'scalar', inputs: [random.tensor([])] },
  ],
});

export const activationOps: readonly OpDefinition[] = [
  relu,
  reluGuarded,
  reluGrad,
  clip,
  clipGrad,
  sigmoid,
  tanh,
  leakyRelu,
  hardSigmoid,
  hardSwish,
];
