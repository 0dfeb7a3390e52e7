// The cross-entropy loss and its gradient as ai.onnx nodes, the same for every target: inference builds of
// ONNX Runtime have no SoftmaxCrossEntropyLoss. In: scores and labels. Out: loss, logarithms, gradient.
// Invariant: labels become one-hot rows by comparison with 0…C−1, in int32, which every target compares.

import { Tensor, int, ints } from '../ir/index.js';
import type { Value } from '../ir/index.js';
import { elementCode, scalarLike } from '../ops/index.js';
import type { Builder } from '../ops/index.js';
import { reductionOf } from '../ops/softmax.js';
import { asNumber } from './activation.js';
import { defineLowering } from './definition.js';
import type { LowerContext, Lowering } from './definition.js';

/** labels [N,…] → [N,C,…] with a 1 at each label. */
function oneHot(b: Builder, labels: Value, scores: Value, dims: readonly number[]): Value {
  const [, classes = 0, ...positions] = dims;
  const narrow =
    labels.type?.dtype === 'int32'
      ? labels
      : b.op('Cast', [labels], { attributes: { to: int(elementCode('int32')) }, name: 'labels' });
  const column = b.op('Unsqueeze', [narrow, b.ints(1)]);
  const range = Tensor.of(
    'int32',
    [1, classes, ...positions.map(() => 1)],
    Array.from({ length: classes }, (_, i) => i),
  );
  const hit = b.op('Equal', [column, b.constant(range, 'classes')], { name: 'isLabel' });
  return asNumber(b, hit, scores);
}

/** log softmax along an axis. */
type Logarithms = (b: Builder, scores: Value, axis: number) => Value;

const logSoftmax: Logarithms = (b, scores, axis) =>
  b.op('LogSoftmax', [scores], { attributes: { axis: int(axis) }, name: 'logs' });

/** (x − max) − log Σ exp(x − max): WebGPU has no LogSoftmax. */
const logSoftmaxSpelledOut: Logarithms = (b, scores, axis) => {
  const highest = b.op('ReduceMax', [scores], {
    attributes: { axes: ints([axis]), keepdims: int(1) },
    name: 'highest',
  });
  const below = b.op('Sub', [scores, highest], { name: 'below' });
  const sum = b.op('ReduceSum', [b.op('Exp', [below]), b.ints(axis)], {
    attributes: { keepdims: int(1) },
    name: 'sum',
  });
  return b.op('Sub', [below, b.op('Log', [sum])], { name: 'logs' });
};

const loss = (ctx: LowerContext, logarithms: Logarithms): Value[] => {
  const { b } = ctx;
  const scores = ctx.input(0);
  const logs = logarithms(b, scores, 1);
  const hits = oneHot(b, ctx.input(1), scores, ctx.shape(0));
  const picked = b.op('Mul', [logs, hits], { name: 'picked' });
  const sums = b.op('ReduceSum', [picked, b.ints(1)], { attributes: { keepdims: int(0) } });
  const each = b.op('Neg', [sums], { name: 'losses' });
  const reduction = reductionOf(ctx.attributes, ctx.node);
  if (reduction === 'none') return [each, logs];
  const type = reduction === 'mean' ? 'ReduceMean' : 'ReduceSum';
  return [b.op(type, [each], { attributes: { keepdims: int(0) }, name: 'loss' }), logs];
};

const lossGrad = (ctx: LowerContext): Value[] => {
  const { b } = ctx;
  const [logs, labels, dLoss] = [ctx.input(0), ctx.input(1), ctx.input(2)];
  const reduction = reductionOf(ctx.attributes, ctx.node);
  const count = ctx.shape(1).reduce((n, d) => n * d, 1);
  const weight =
    reduction === 'none'
      ? b.op('Unsqueeze', [dLoss, b.ints(1)])
      : reduction === 'mean'
        ? b.op('Mul', [dLoss, scalarLike(b, dLoss, 1 / count)], { name: 'share' })
        : dLoss;
  const off = b.op('Sub', [b.op('Exp', [logs]), oneHot(b, labels, logs, ctx.shape(0))], {
    name: 'off',
  });
  return [b.op('Mul', [off, weight], { name: 'dScores' })];
};

export const softmaxLowerings: readonly Lowering[] = [
  defineLowering({
    type: 'SoftmaxCrossEntropyLoss',
    domain: '',
    rules: {
      cpu: (ctx) => loss(ctx, logSoftmax),
      portable: (ctx) => loss(ctx, logSoftmaxSpelledOut),
    },
  }),
  defineLowering({
    type: 'LogSoftmax',
    domain: '',
    rules: {
      portable: (ctx) => {
        const axis = ctx.attributes.int('axis', -1);
        const scores = ctx.input(0);
        const along = axis < 0 ? axis + ctx.shape(0).length : axis;
        return [logSoftmaxSpelledOut(ctx.b, scores, along)];
      },
    },
  }),
  defineLowering({ type: 'CrossEntropyGrad', rules: { cpu: lossGrad, portable: lossGrad } }),
];
