// Operators with a gradient, and what they are in PyTorch: a line or more an operator, here and in the tables beside
// (layout, indices, reductions, resize). In Python, x are the operands and a the attributes. A new operator with a
// gradient gets a line, or a reason in NOT_IN_TORCH.

import fc from 'fast-check';
import { Tensor } from '../../src/ir/index.js';
import {
  broadcastShapes,
  cases,
  line,
  nonzero,
  one,
  planes,
  positive,
  several,
  shape,
  shapeAndAxis,
} from './operator-cases.js';
import type { Line, TorchCase } from './operator-cases.js';
import {
  convCases,
  convSameCases,
  convTransposeCases,
  poolCases,
  roundedPoolCases,
} from './operator-windows.js';

/** Operators with a gradient that PyTorch has no counterpart of, and what they are tested by instead. */
export const NOT_IN_TORCH: ReadonlyMap<string, string> = new Map([
  ['revnetify.ReluGuarded', 'Relu once more; the generated suite'],
  ['revnetify.BatchNormApply', 'the recomputed twin of BatchNormTrain, which has a line'],
  ['Dropout', 'the identity in inference; the generated suite'],
]);

const EPSILON = 1e-3;

// ---- groups of cases

const alongAxis = cases(shapeAndAxis(), ({ dims, axis }, draw) => ({
  inputs: [draw(dims, 2)],
  attributes: { axis },
}));

const scalar = (value: number): Tensor => Tensor.of('float64', [], [value]);

/** A base and one constant exponent. */
const powers = cases(
  fc.tuple(shape(), fc.constantFrom(2, 3, 0.5, -1.5, 1, 0)),
  ([dims, exponent], draw): TorchCase => ({
    inputs: [
      Number.isInteger(exponent) && exponent >= 0 ? draw(dims) : positive(draw(dims)),
      scalar(exponent),
    ],
    constants: [1],
    differentiable: [0],
  }),
);

/** X normalised over its last axes, with a scale and perhaps a bias of these. */
const layers = cases(
  shapeAndAxis(2).chain((s) => fc.tuple(fc.constant(s), fc.boolean())),
  ([{ dims, axis }, biased], draw) => {
    const row = dims.slice(axis);
    return {
      inputs: [draw(dims, 1, 0.7), draw(row), ...(biased ? [draw(row)] : [])],
      attributes: { axis, epsilon: EPSILON },
      floats: ['epsilon'],
    };
  },
);

/** X [N,C,…] and vectors of one number per channel. */
const channelwise = (vectors: number, outputs = 1): fc.Arbitrary<TorchCase> =>
  cases(planes(2), (dims, draw) => {
    const channels = dims.slice(1, 2);
    const rest = Array.from({ length: vectors }, (_, i) =>
      i === 3 ? positive(draw(channels)) : draw(channels),
    );
    return {
      inputs: [draw(dims, 1, 0.5), ...rest],
      attributes: { epsilon: EPSILON },
      floats: ['epsilon'],
      outputs,
      differentiable: [0, 1, 2],
    };
  });

const grouped = cases(
  fc.tuple(planes(2), fc.integer({ min: 1, max: 3 })),
  ([[n = 1, c = 1, ...plane], groups], draw) => {
    const channels = c * groups;
    const column = [channels, ...plane.map(() => 1)];
    return {
      inputs: [draw([n, channels, ...plane], 1, 0.5), draw(column), draw(column)],
      attributes: { num_groups: groups, epsilon: EPSILON },
      floats: ['epsilon'],
    };
  },
);

const slopes = cases(broadcastShapes(1), ([whole = []], draw, random) => {
  const lead = random.integer(0, whole.length);
  const own = whole.slice(lead).map((d) => (random.uniform() < 0.4 ? 1 : d));
  return { inputs: [draw(whole), draw(own, 0.3, 0.3)] };
});

const choices = cases(broadcastShapes(3), ([a = [], b = [], c = []], draw) => ({
  inputs: [
    new Tensor(
      'bool',
      a,
      draw(a).data.map((v) => (v > 0 ? 1 : 0)),
    ),
    draw(b),
    draw(c),
  ],
  differentiable: [1, 2],
}));

const masks = cases(shape(0, 4), (dims, draw) => ({
  inputs: [
    draw(dims),
    new Tensor(
      'bool',
      dims,
      draw(dims).data.map((v) => (v > -0.5 ? 1 : 0)),
    ),
  ],
  attributes: { scale: 1.25 },
  floats: ['scale'],
}));

const limited = cases(shape(), (dims, draw) => ({
  inputs: [draw(dims, 2), scalar(-0.75), scalar(1.25)],
  constants: [1, 2],
  differentiable: [0],
}));

const products = cases(
  fc.tuple(broadcastShapes(2), fc.tuple(...[1, 2, 3].map(() => fc.integer({ min: 1, max: 4 })))),
  ([[a = [], b = []], [m = 1, k = 1, n = 1]], draw) => ({
    inputs: [draw([...a.slice(-2), m, k]), draw([...b.slice(-2), k, n])],
  }),
);

const gemms = cases(
  fc.tuple(
    ...[1, 2, 3].map(() => fc.integer({ min: 1, max: 4 })),
    ...[4, 5, 6, 7].map(() => fc.integer({ min: 0, max: 1 })),
  ),
  ([m = 1, k = 1, n = 1, transA = 0, transB = 0, wide = 0, tall = 0], draw) => ({
    inputs: [
      draw(transA ? [k, m] : [m, k]),
      draw(transB ? [n, k] : [k, n]),
      draw([tall ? m : 1, wide ? n : 1]),
    ],
    attributes: { transA, transB, alpha: 0.7, beta: 1.3 },
    floats: ['alpha', 'beta'],
  }),
);

const losses = cases(
  fc.tuple(planes(1), fc.constantFrom('mean', 'sum', 'none')),
  ([dims, reduction], draw, random) => {
    const labels = Tensor.zeros(
      'int64',
      dims.filter((_, i) => i !== 1),
    );
    for (let i = 0; i < labels.size; i++) labels.data[i] = random.integer(0, (dims[1] ?? 1) - 1);
    return { inputs: [draw(dims, 2), labels], attributes: { reduction }, differentiable: [0] };
  },
);

// ---- the table

const arithmetic: readonly Line[] = [
  line('Add', 'x[0] + x[1]', several(2)),
  line('Sub', 'x[0] - x[1]', several(2)),
  line('Mul', 'x[0] * x[1]', several(2)),
  line(
    'Div',
    'x[0] / x[1]',
    several(2, (t, i) => (i === 1 ? nonzero(t) : t)),
  ),
  line(
    'Pow',
    'x[0] ** x[1]',
    fc.oneof(
      powers,
      several(2, (t, i) => (i === 0 ? positive(t) : t)),
    ),
  ),
  line(
    'Mod',
    'torch.fmod(x[0], x[1])',
    cases(broadcastShapes(2), ([a = [], b = []], draw) => ({
      inputs: [draw(a, 3), nonzero(draw(b))],
      attributes: { fmod: 1 },
    })),
  ),
  line('Sum', 'x[0] + x[1] + x[2]', several(3)),
  line('Mean', '(x[0] + x[1] + x[2]) / 3', several(3)),
  line('Max', 'torch.maximum(torch.maximum(x[0], x[1]), x[2])', several(3)),
  line('Min', 'torch.minimum(torch.minimum(x[0], x[1]), x[2])', several(3)),
  line('Where', 'torch.where(x[0], x[1], x[2])', choices),
  line('Neg', '-x[0]', one()),
  line('Abs', 'x[0].abs()', one()),
  line('Exp', 'x[0].exp()', one()),
  line(
    'Log',
    'x[0].log()',
    one((draw, dims) => positive(draw(dims))),
  ),
  line(
    'Sqrt',
    'x[0].sqrt()',
    one((draw, dims) => positive(draw(dims))),
  ),
  line(
    'Reciprocal',
    'x[0].reciprocal()',
    one((draw, dims) => nonzero(draw(dims))),
  ),
  line('Erf', 'torch.erf(x[0])', one()),
  line('Sin', 'x[0].sin()', one()),
  line('Cos', 'x[0].cos()', one()),
  line('MatMul', 'x[0] @ x[1]', products),
  line(
    'Gemm',
    'a["alpha"] * (x[0].T if a["transA"] else x[0]) @ (x[1].T if a["transB"] else x[1]) + a["beta"] * x[2]',
    gemms,
  ),
];

const activations: readonly Line[] = [
  line('Relu', 'F.relu(x[0])', one()),
  line('Clip', 'x[0].clamp(x[1], x[2])', limited),
  line('Sigmoid', 'torch.sigmoid(x[0])', one()),
  line('Tanh', 'torch.tanh(x[0])', one()),
  line('LeakyRelu', 'F.leaky_relu(x[0], a["alpha"])', one(undefined, { alpha: 0.2 })),
  line(
    'HardSigmoid',
    // F.hardsigmoid has 1/6 in single precision in its gradient.
    '(a["alpha"] * x[0] + a["beta"]).clamp(0, 1)',
    one((draw, dims) => draw(dims, 2.5), { alpha: 1 / 6, beta: 0.5 }),
  ),
  line(
    'HardSwish',
    'F.hardswish(x[0])',
    one((draw, dims) => draw(dims, 2.5)),
  ),
  line(
    'Elu',
    'F.elu(x[0], a["alpha"])',
    fc.oneof(one(undefined, { alpha: 0.6 }), one(undefined, { alpha: 1 })),
  ),
  line('Selu', 'a["gamma"] * F.elu(x[0], a["alpha"])', one(undefined, { alpha: 1.7, gamma: 1.1 })),
  // A power of 2: F.celu has 1/alpha in single precision in its gradient.
  line('Celu', 'F.celu(x[0], a["alpha"])', one(undefined, { alpha: 0.5 })),
  line('Softplus', 'F.softplus(x[0], threshold=1e9)', one()),
  line('Softsign', 'F.softsign(x[0])', one()),
  line('ThresholdedRelu', 'F.threshold(x[0], a["alpha"], 0.0)', one(undefined, { alpha: 0.4 })),
  line(
    'Shrink',
    // A jump at ±lambd, and what is left moved towards 0.
    'F.hardshrink(x[0], a["lambd"]) - a["bias"] * F.hardshrink(x[0], a["lambd"]).sign()',
    fc.oneof(one(undefined, { lambd: 0.5, bias: 0 }), one(undefined, { lambd: 0.7, bias: 0.3 })),
  ),
  line('Shrink', 'F.softshrink(x[0], a["lambd"])', one(undefined, { lambd: 0.4, bias: 0.4 })),
  line('PRelu', 'torch.where(x[0] > 0, x[0], x[1] * x[0])', slopes),
  line('revnetify.Masked', 'a["scale"] * x[0] * x[1]', masks),
  line('Softmax', 'F.softmax(x[0], a["axis"])', alongAxis),
  line('LogSoftmax', 'F.log_softmax(x[0], a["axis"])', alongAxis),
  line('SoftmaxCrossEntropyLoss', 'F.cross_entropy(x[0], x[1], reduction=a["reduction"])', losses),
];

const norms: readonly Line[] = [
  line(
    'LayerNormalization',
    'F.layer_norm(x[0], x[1].shape, x[1], x[2] if len(x) > 2 else None, a["epsilon"])',
    layers,
  ),
  line(
    'InstanceNormalization',
    'F.instance_norm(x[0], None, None, x[1], x[2], True, 0.0, a["epsilon"])',
    channelwise(2),
  ),
  line(
    'revnetify.GroupNormalization',
    'F.group_norm(x[0], a["num_groups"], x[1].reshape(-1), x[2].reshape(-1), a["epsilon"])',
    grouped,
  ),
  line(
    'BatchNormalization',
    'F.batch_norm(x[0], x[3], x[4], x[1], x[2], False, 0.0, a["epsilon"])',
    channelwise(4),
  ),
  line(
    'revnetify.BatchNormTrain',
    'F.batch_norm(x[0], None, None, x[1], x[2], True, 0.0, a["epsilon"])',
    channelwise(2, 3),
  ),
  line(
    'LpNormalization',
    'x[0] / x[0].norm(a["p"], a["axis"], True)',
    cases(fc.tuple(shapeAndAxis(), fc.constantFrom(1, 2)), ([{ dims, axis }, p], draw) => ({
      inputs: [nonzero(draw(dims))],
      attributes: { axis, p },
    })),
  ),
  line(
    'LRN',
    'F.local_response_norm(x[0], a["size"], a["alpha"], a["beta"], a["bias"])',
    cases(fc.tuple(shape(4), fc.constantFrom(1, 3, 5)), ([dims, size], draw) => ({
      inputs: [draw(dims)],
      attributes: { size, alpha: 0.5, beta: 0.75, bias: 1.5 },
      floats: ['alpha', 'beta', 'bias'],
    })),
  ),
];

const windows: readonly Line[] = [
  line('Conv', 'conv(x[0], x[1], x[2] if len(x) > 2 else None, a)', convCases),
  line('Conv', 'conv(x[0], x[1], x[2] if len(x) > 2 else None, a)', convSameCases),
  line(
    'ConvTranspose',
    'conv_transpose(x[0], x[1], x[2] if len(x) > 2 else None, a)',
    convTransposeCases,
  ),
  line('MaxPool', 'max_pool(x[0], a)', poolCases('max')),
  line('AveragePool', 'avg_pool(x[0], a)', poolCases('average')),
  ...(['ceil', 'same'] as const).flatMap((rounding) => [
    line('MaxPool', 'max_pool(x[0], a)', roundedPoolCases('max', rounding)),
    line('AveragePool', 'avg_pool(x[0], a)', roundedPoolCases('average', rounding)),
  ]),
  line('GlobalAveragePool', 'x[0].mean(tuple(range(2, x[0].dim())), True)', channelwiseX()),
  line('GlobalMaxPool', 'x[0].amax(tuple(range(2, x[0].dim())), True)', channelwiseX()),
];

function channelwiseX(): fc.Arbitrary<TorchCase> {
  return cases(planes(), (dims, draw) => ({ inputs: [draw(dims)] }));
}

export const computingLines: readonly Line[] = [
  ...arithmetic,
  ...activations,
  ...norms,
  ...windows,
];
