// Softmax, LogSoftmax and the cross-entropy loss over them. In: scores. Out: probabilities, their logarithms,
// the loss. Invariant: exponentials are taken after the maximum was subtracted, so nothing overflows.

import { DiagnosticError } from '../diagnostics/index.js';
import { Attributes, Tensor, elementCount, int, string } from '../ir/index.js';
import type { Dim, Node, Value } from '../ir/index.js';
import { impossible, inputSize, normalizeAxis, reduceSum, outputSize } from './broadcast.js';
import { REVNETIFY, defineOp } from './definition.js';
import type { GradientContext, InferContext, OpDefinition } from './definition.js';
import type { Random } from './random.js';

const get = (data: Float64Array, i: number): number => data[i] as number;

/** Logarithm of the softmax along one axis. */
function logSoftmaxOf(x: Tensor, axis: number): Tensor {
  const extent = x.dims[axis] ?? 1;
  const inner = elementCount(x.dims.slice(axis + 1));
  const out = Tensor.zeros(x.dtype, x.dims);
  for (let start = 0; start < x.size; start += extent * inner)
    for (let k = start; k < start + inner; k++) {
      let most = -Infinity;
      for (let c = 0; c < extent; c++) most = Math.max(most, get(x.data, k + c * inner));
      let sum = 0;
      for (let c = 0; c < extent; c++) sum += Math.exp(get(x.data, k + c * inner) - most);
      const shift = most + Math.log(sum);
      for (let c = 0; c < extent; c++) out.data[k + c * inner] = get(x.data, k + c * inner) - shift;
    }
  return out;
}

const axisOf = (attributes: Attributes, rank: number): number =>
  normalizeAxis(attributes.int('axis', -1), rank, impossible);

const sumAlong = (ctx: GradientContext, x: Value): Value =>
  reduceSum(ctx.b, x, [axisOf(ctx.attributes, x.shape?.length ?? 0)], true);

const axisSamples = (random: Random): ReturnType<NonNullable<OpDefinition['samples']>> => [
  { label: 'last axis', inputs: [random.tensor([3, 5], 2)] },
  {
    label: 'axis 1 of 4',
    inputs: [random.tensor([2, 3, 4, 2], 2)],
    attributes: new Attributes({ axis: int(1) }),
  },
  {
    label: 'first axis, counted from the end',
    inputs: [random.tensor([4, 3], 2)],
    attributes: new Attributes({ axis: int(-2) }),
  },
  { label: 'far from 0', inputs: [random.tensor([2, 4], 1, 300)] },
];

const checkedType = (ctx: InferContext): ReturnType<InferContext['type']> => {
  const type = ctx.type(0);
  if (type.shape)
    normalizeAxis(ctx.attributes.int('axis', -1), type.shape.length, (why) => ctx.fail(why));
  return type;
};

const softmax = defineOp({
  type: 'Softmax',
  infer: (ctx) => [checkedType(ctx)],
  evaluate: (ctx) => {
    const x = ctx.input(0);
    const logs = logSoftmaxOf(x, axisOf(ctx.attributes, x.dims.length));
    return [new Tensor(x.dtype, x.dims, logs.data.map(Math.exp))];
  },
  gradient: (ctx) => {
    if (!ctx.wants(0)) return [];
    const { b } = ctx;
    const [y, dY] = [ctx.output(), ctx.grad()];
    const mean = sumAlong(ctx, b.op('Mul', [dY, y]));
    return [b.op('Mul', [y, b.op('Sub', [dY, mean])])];
  },
  flops: (ctx) => 12 * outputSize(ctx),
  keepsShape: true,
  samples: axisSamples,
});

const logSoftmax = defineOp({
  type: 'LogSoftmax',
  infer: (ctx) => [checkedType(ctx)],
  evaluate: (ctx) => {
    const x = ctx.input(0);
    return [logSoftmaxOf(x, axisOf(ctx.attributes, x.dims.length))];
  },
  gradient: (ctx) => {
    if (!ctx.wants(0)) return [];
    const { b } = ctx;
    const dY = ctx.grad();
    const shares = b.op('Mul', [b.op('Exp', [ctx.output()]), sumAlong(ctx, dY)]);
    return [b.op('Sub', [dY, shares])];
  },
  flops: (ctx) => 12 * outputSize(ctx),
  keepsShape: true,
  samples: axisSamples,
});

// ---- cross entropy

export type Reduction = 'none' | 'mean' | 'sum';

export function reductionOf(attributes: Attributes, node: Node): Reduction {
  const name = attributes.string('reduction', 'mean');
  if (name === 'none' || name === 'mean' || name === 'sum') return name;
  throw new DiagnosticError('op/unsupported', describe(node), `the reduction is ${name}`);
}

const describe = (node: Node): string => `node ${node.name} (${node.op})`;

function checkedLabels(ctx: InferContext, scores: number, labels: number): void {
  const [x, t] = [ctx.shape(scores), ctx.shape(labels)];
  const expected = x.filter((_, i) => i !== 1);
  const differs = (d: Dim, i: number): boolean =>
    typeof d === 'number' && typeof expected[i] === 'number' && d !== expected[i];
  if (t.length !== expected.length || t.some(differs))
    ctx.fail(`labels [${t.join(',')}] do not fit scores [${x.join(',')}]`);
  const { dtype } = ctx.type(labels);
  if (dtype !== 'int64' && dtype !== 'int32') ctx.fail(`labels are ${dtype}, not int64 or int32`);
}

/** Calls visit(label position, flat index of its class, …) for every label; classes are axis 1. */
function eachLabel(
  dims: readonly number[],
  labels: Tensor,
  visit: (position: number, target: number) => void,
): void {
  const classes = dims[1] ?? 1;
  const inner = elementCount(dims.slice(2));
  for (let p = 0; p < labels.size; p++) {
    const label = get(labels.data, p);
    if (!(label >= 0 && label < classes))
      throw new Error(`label ${label} is not one of ${classes} classes`);
    const k = p % inner;
    visit(p, (((p - k) / inner) * classes + label) * inner + k);
  }
}

/**
 * SoftmaxCrossEntropyLoss(scores [N,C,…], labels [N,…]) → loss, log_prob?. Class weights and ignore_index are
 * refused.
 */
const crossEntropy = defineOp({
  type: 'SoftmaxCrossEntropyLoss',
  infer(ctx) {
    const refuse = (what: string): never => {
      throw new DiagnosticError('op/unsupported', describe(ctx.node), `it has ${what}`);
    };
    if (ctx.has(2)) refuse('class weights');
    if (ctx.attributes.has('ignore_index')) refuse('an ignore_index');
    const reduction = reductionOf(ctx.attributes, ctx.node);
    checkedLabels(ctx, 0, 1);
    const { dtype, shape } = ctx.type(0);
    return [
      { dtype, shape: reduction === 'none' ? ctx.shape(1) : [] },
      { dtype, shape },
    ];
  },
  evaluate(ctx) {
    const [x, labels] = [ctx.input(0), ctx.input(1)];
    const logs = logSoftmaxOf(x, 1);
    const each = Tensor.zeros(x.dtype, labels.dims);
    eachLabel(x.dims, labels, (p, target) => {
      each.data[p] = -get(logs.data, target);
    });
    const reduction = ctx.attributes.string('reduction', 'mean');
    if (reduction === 'none') return [each, logs];
    const sum = each.data.reduce((s, v) => s + v, 0);
    const loss = Tensor.scalar(reduction === 'mean' ? sum / each.size : sum, x.dtype);
    return [loss, logs];
  },
  gradient(ctx) {
    if (!ctx.wants(0)) return [];
    const { b } = ctx;
    const axis = { axis: int(1) };
    const logs = ctx.node.outputs[1]
      ? ctx.output(1)
      : b.op('LogSoftmax', [ctx.input(0)], { attributes: axis });
    const byLoss = (): Value =>
      b.op('revnetify.CrossEntropyGrad', [logs, ctx.input(1), ctx.grad()], {
        attributes: { reduction: string(reductionOf(ctx.attributes, ctx.node)) },
      });
    const byLogs = (): Value => {
      const dY = ctx.grad(1);
      const shares = b.op('Mul', [b.op('Exp', [logs]), reduceSum(b, dY, [1], true)]);
      return b.op('Sub', [dY, shares]);
    };
    const parts = [...(ctx.hasGrad(0) ? [byLoss()] : []), ...(ctx.hasGrad(1) ? [byLogs()] : [])];
    return [parts.length === 2 ? b.op('Add', parts) : parts[0]];
  },
  flops: (ctx) => 14 * inputSize(ctx),
  samples: (random) =>
    lossSamples(random, (x, labels, attributes) => ({
      inputs: [x, labels],
      attributes,
      outputs: 2,
      differentiable: [0],
    })),
});

/**
 * CrossEntropyGrad(log_prob [N,C,…], labels [N,…], dLoss; reduction) → gradient by the scores:
 * (softmax − one-hot) · dLoss, divided by the number of labels for a mean.
 */
const crossEntropyGrad = defineOp({
  type: 'CrossEntropyGrad',
  domain: REVNETIFY,
  infer(ctx) {
    reductionOf(ctx.attributes, ctx.node);
    checkedLabels(ctx, 0, 1);
    return [ctx.type(0)];
  },
  evaluate(ctx) {
    const [logs, labels, dLoss] = [ctx.input(0), ctx.input(1), ctx.input(2)];
    const reduction = ctx.attributes.string('reduction', 'mean');
    const out = Tensor.zeros(logs.dtype, logs.dims);
    const share = reduction === 'mean' ? 1 / labels.size : 1;
    const inner = elementCount(logs.dims.slice(2));
    const perSample = (logs.dims[1] ?? 1) * inner;
    const weight = (i: number): number =>
      reduction === 'none'
        ? get(dLoss.data, Math.floor(i / perSample) * inner + (i % inner))
        : get(dLoss.data, 0) * share;
    for (let i = 0; i < out.size; i++) out.data[i] = Math.exp(get(logs.data, i)) * weight(i);
    eachLabel(logs.dims, labels, (_, target) => {
      out.data[target] = get(out.data, target) - weight(target);
    });
    return [out];
  },
  flops: (ctx) => 10 * inputSize(ctx),
  samples: (random) =>
    lossSamples(random, (x, labels, attributes) => ({
      inputs: [
        logSoftmaxOf(x, 1),
        labels,
        attributes.string('reduction', 'mean') === 'none'
          ? random.tensor(labels.dims)
          : random.tensor([]),
      ],
      attributes,
      differentiable: [],
    })),
});

/** Each reduction for plain scores and for scores with positions. */
function lossSamples<T extends object>(
  random: Random,
  make: (x: Tensor, labels: Tensor, attributes: Attributes) => T,
): (T & { label: string })[] {
  return (['mean', 'sum', 'none'] as const).flatMap((reduction) =>
    [
      [4, 5],
      [2, 3, 4],
      [2, 3, 2, 3],
    ].map((dims) => {
      const labelDims = dims.filter((_, i) => i !== 1);
      const labels = Tensor.zeros('int64', labelDims);
      for (let i = 0; i < labels.size; i++) labels.data[i] = random.integer(0, (dims[1] ?? 1) - 1);
      const attributes = new Attributes({ reduction: string(reduction) });
      return {
        label: `${reduction} over rank ${dims.length}`,
        ...make(random.tensor(dims, 2), labels, attributes),
      };
    }),
  );
}

export const softmaxOps: readonly OpDefinition[] = [
  softmax,
  logSoftmax,
  crossEntropy,
  crossEntropyGrad,
];
