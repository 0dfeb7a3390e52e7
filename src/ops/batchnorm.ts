// Batch normalization forward: ONNX's own operator and our training forms, BatchNormTrain (statistics of the
// batch) and BatchNormApply (the same with saved statistics, for the recompute). In: X [N,C,…]. Out: Y.
// Invariant: every variance here is the biased one (divided by N·…, as ONNX Runtime returns it).

import { DiagnosticError } from '../diagnostics/index.js';
import { Attributes, Tensor, float, int } from '../ir/index.js';
import type { Shape, Value } from '../ir/index.js';
import { inAxis, outAxis, sameAxes } from './axes.js';
import { outputSize } from './broadcast.js';
import {
  DEFAULT_EPSILON,
  channelData,
  channelStatistics,
  channelSum,
  eachPlane,
  perChannel,
  positiveVector,
} from './channels.js';
import { REVNETIFY, defineOp } from './definition.js';
import type { GradientContext, InferContext, OpDefinition, OpSample } from './definition.js';
import type { Random } from './random.js';

const get = (data: Float64Array, i: number): number => data[i] as number;

/** (x − mean) / √(variance + ε) · gamma + beta. */
function normalize(
  x: Tensor,
  gamma: Float64Array,
  beta: Float64Array,
  mean: Float64Array,
  variance: Float64Array,
  epsilon: number,
): Tensor {
  const out = Tensor.zeros(x.dtype, x.dims);
  eachPlane(x.dims, (c, start, length) => {
    const scale = get(gamma, c) / Math.sqrt(get(variance, c) + epsilon);
    for (let i = start; i < start + length; i++)
      out.data[i] = (get(x.data, i) - get(mean, c)) * scale + get(beta, c);
  });
  return out;
}

const epsilonOf = (attributes: Attributes): number => attributes.float('epsilon', DEFAULT_EPSILON);

/** Shape of X, after checking that the vectors fit its channels. */
function checkedShape(ctx: InferContext, vectors: number): Shape {
  const shape = ctx.shape(0);
  const channels = shape[1] ?? ctx.fail(`X has rank ${shape.length}`);
  for (let i = 1; i <= vectors; i++) {
    const own = ctx.shape(i);
    if (own.length !== 1) ctx.fail(`operand ${i} has rank ${own.length}, not 1`);
    if (typeof own[0] === 'number' && typeof channels === 'number' && own[0] !== channels)
      ctx.fail(`operand ${i} has ${own[0]} entries for ${channels} channels`);
  }
  return shape;
}

/** The token joins beta: C floats, the smallest operand that every path to Y goes through. */
const guardBeta: NonNullable<OpDefinition['guard']> = (node, token, b) => {
  node.setInput(2, b.op('Add', [node.input(2), token], { name: 'token' }));
};

/**
 * The token joins mean and beta: on one target X meets the mean first, on the other a kernel takes the statistics
 * from X and beta alone is left. What a target does not read goes away.
 */
const guardApply: NonNullable<OpDefinition['guard']> = (node, token, b) => {
  guardBeta(node, token, b);
  node.setInput(3, b.op('Add', [node.input(3), token], { name: 'token' }));
};

// ---- samples

const SHAPES = [
  { label: 'rank 4', dims: [2, 3, 4, 3] },
  { label: 'rank 3', dims: [3, 2, 5] },
  { label: 'rank 2', dims: [6, 4] },
  { label: 'rank 5', dims: [2, 2, 2, 3, 2] },
  { label: 'one channel', dims: [2, 1, 3, 3] },
] as const;

const samplesOf = (
  random: Random,
  make: (x: Tensor, channels: number) => Omit<OpSample, 'label'>,
): OpSample[] => [
  ...SHAPES.map(({ label, dims }) => ({
    label,
    ...make(channelData(random, dims), dims[1]),
  })),
  { label: 'mean of 50 deviations', ...make(channelData(random, [2, 2, 3, 3], 50), 2) },
];

// ---- ONNX BatchNormalization

const trains = (attributes: Attributes): boolean => attributes.int('training_mode', 0) === 1;

/** Y by every operand with the statistics as constants; operands 3 and 4 get none. */
function inferenceGradient(ctx: GradientContext): (Value | undefined)[] {
  const { b } = ctx;
  if (trains(ctx.attributes))
    throw new DiagnosticError(
      'op/no-gradient',
      `node ${ctx.node.name}`,
      'BatchNormalization with training_mode=1 must become revnetify.BatchNormTrain first',
    );
  const x = ctx.input(0);
  const rank = x.shape?.length ?? 0;
  const epsilon = b.constant(
    Tensor.scalar(epsilonOf(ctx.attributes), ctx.input(4).type?.dtype ?? 'float32'),
  );
  const deviation = b.op('Sqrt', [b.op('Add', [ctx.input(4), epsilon])]);
  const dX = (): Value =>
    b.op('Mul', [ctx.grad(), perChannel(b, b.op('Div', [ctx.input(1), deviation]), rank)]);
  // Centred before it is summed: Σ dY·x − mean·Σ dY cancels where the mean is large.
  const dScale = (): Value => {
    const centred = b.op('Sub', [x, perChannel(b, ctx.input(3), rank)]);
    return b.op('Div', [channelSum(b, b.op('Mul', [ctx.grad(), centred]), rank), deviation]);
  };
  return [
    ctx.wants(0) ? dX() : undefined,
    ctx.wants(1) ? dScale() : undefined,
    ctx.wants(2) ? channelSum(b, ctx.grad(), rank) : undefined,
  ];
}

/** Inputs X, scale, B, input_mean, input_var. Outputs Y and, in training mode, the running statistics. */
const batchNormalization = defineOp({
  type: 'BatchNormalization',
  parameters: [1, 2],
  infer(ctx) {
    const shape = checkedShape(ctx, 4);
    return [
      { dtype: ctx.type(0).dtype, shape },
      { dtype: ctx.type(3).dtype, shape: ctx.shape(3) },
      { dtype: ctx.type(4).dtype, shape: ctx.shape(4) },
    ];
  },
  evaluate(ctx) {
    const [x, scale, bias, mean, variance] = [0, 1, 2, 3, 4].map((i) => ctx.input(i)) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];
    const epsilon = epsilonOf(ctx.attributes);
    if (!trains(ctx.attributes))
      return [normalize(x, scale.data, bias.data, mean.data, variance.data, epsilon)];
    const batch = channelStatistics(x);
    const momentum = ctx.attributes.float('momentum', 0.9);
    const running = (old: Tensor, now: Float64Array): Tensor =>
      new Tensor(
        old.dtype,
        old.dims,
        now.map((v, c) => momentum * get(old.data, c) + (1 - momentum) * v),
      );
    return [
      normalize(x, scale.data, bias.data, batch.mean, batch.variance, epsilon),
      running(mean, batch.mean),
      running(variance, batch.variance),
    ];
  },
  gradient: inferenceGradient,
  flops: (ctx) => (trains(ctx.attributes) ? 7 : 2) * outputSize(ctx),
  keepsShape: true,
  axes: (ctx) =>
    sameAxes(ctx).map((link, axis) =>
      axis === 1
        ? {
            axes: [
              ...link.axes,
              ...[1, 2, 3, 4].map((i) => inAxis(i, 0)),
              outAxis(0, 1),
              outAxis(0, 2),
            ],
          }
        : link,
    ),
  initial: (index) => (index === 1 || index === 4 ? 'ones' : 'zeros'),
  guard: guardBeta,
  samples: (random) => [
    ...samplesOf(random, (x, channels) => ({
      inputs: [
        x,
        random.tensor([channels]),
        random.tensor([channels]),
        random.tensor([channels]),
        positiveVector(random, channels),
      ],
      attributes: new Attributes({ epsilon: float(1e-3) }),
      differentiable: [0, 1, 2],
    })),
    {
      label: 'training mode',
      inputs: [
        channelData(random, [2, 3, 3, 4]),
        random.tensor([3]),
        random.tensor([3]),
        random.tensor([3]),
        positiveVector(random, 3),
      ],
      attributes: new Attributes({ training_mode: int(1), momentum: float(0.75) }),
      outputs: 3,
      differentiable: [],
    },
  ],
});

// ---- our training forms

/**
 * BatchNormTrain(X, gamma, beta; epsilon) → Y, batch mean [C], biased batch variance [C]. The statistics only
 * feed running averages: a gradient that reaches them stops there.
 */
const batchNormTrain = defineOp({
  type: 'BatchNormTrain',
  parameters: [1, 2],
  domain: REVNETIFY,
  infer(ctx) {
    const shape = checkedShape(ctx, 2);
    const { dtype } = ctx.type(0);
    const vector = { dtype, shape: [shape[1] ?? 0] };
    return [{ dtype, shape }, vector, vector];
  },
  evaluate(ctx) {
    const x = ctx.input(0);
    const { mean, variance } = channelStatistics(x);
    const vector = (data: Float64Array): Tensor => new Tensor(x.dtype, [data.length], data);
    const epsilon = epsilonOf(ctx.attributes);
    const y = normalize(x, ctx.input(1).data, ctx.input(2).data, mean, variance, epsilon);
    return [y, vector(mean), vector(variance)];
  },
  gradient: (ctx) => trainingGradient(ctx, ctx.output(1), ctx.output(2)),
  /** The saved statistics (C floats each) spare the recompute two passes over X, and are exactly those that
   * the forward pass used. */
  recompute(_node, inputs, b, origin) {
    const mean = origin.output(1);
    const variance = origin.output(2);
    const y = b.op('revnetify.BatchNormApply', [inputs[0], inputs[1], inputs[2], mean, variance], {
      attributes: origin.attributes,
    });
    return [y, mean, variance];
  },
  flops: (ctx) => 7 * outputSize(ctx),
  keepsShape: true,
  guard: guardBeta,
  samples: (random) =>
    samplesOf(random, (x, channels) => ({
      inputs: [x, random.tensor([channels]), random.tensor([channels])],
      attributes: new Attributes({ epsilon: float(1e-5) }),
      outputs: 3,
    })),
});

/**
 * BatchNormApply(X, gamma, beta, mean, var; epsilon) → Y: the recomputed twin of a BatchNormTrain. Its
 * gradient is that of training-mode batch norm (BatchNormGrad) and not that of the formula it evaluates: mean
 * and var are operands only to be spared, they are functions of X.
 */
const batchNormApply = defineOp({
  type: 'BatchNormApply',
  domain: REVNETIFY,
  infer(ctx) {
    return [{ dtype: ctx.type(0).dtype, shape: checkedShape(ctx, 4) }];
  },
  evaluate(ctx) {
    const [gamma, beta, mean, variance] = [1, 2, 3, 4].map((i) => ctx.input(i).data) as [
      Float64Array,
      Float64Array,
      Float64Array,
      Float64Array,
    ];
    return [normalize(ctx.input(0), gamma, beta, mean, variance, epsilonOf(ctx.attributes))];
  },
  gradient: (ctx) => trainingGradient(ctx, ctx.input(3), ctx.input(4)),
  flops: (ctx) => 2 * outputSize(ctx),
  keepsShape: true,
  guard: guardApply,
  samples: (random) =>
    samplesOf(random, (x, channels) => {
      const { mean, variance } = channelStatistics(x);
      // Exact: on the CPU the statistics are taken from X again.
      const vector = (data: Float64Array): Tensor => new Tensor('float32', [channels], data);
      return {
        inputs: [
          x,
          random.tensor([channels]),
          random.tensor([channels]),
          vector(mean),
          vector(variance),
        ],
        attributes: new Attributes({ epsilon: float(1e-5) }),
        // Finite differences hold the statistics fixed, the gradient does not.
        differentiable: [],
      };
    }),
});

function trainingGradient(
  ctx: GradientContext,
  mean: Value,
  variance: Value,
): (Value | undefined)[] {
  if (!ctx.hasGrad(0)) return [];
  const { outputs } = ctx.b.node(
    'revnetify.BatchNormGrad',
    [ctx.input(0), ctx.grad(), ctx.input(1), mean, variance],
    { attributes: ctx.attributes, outputs: 3 },
  );
  return [0, 1, 2].map((i) => (ctx.wants(i) ? outputs[i] : undefined));
}

export const batchNormOps: readonly OpDefinition[] = [
  batchNormalization,
  batchNormTrain,
  batchNormApply,
];
