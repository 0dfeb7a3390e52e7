// Picking and placing whole slices by coordinates: GatherND, ScatterND. In: tensors and int64 coordinates in their last
// axis. Out: the slices picked or placed. Invariant: a negative coordinate counts from the end.

import { Attributes, Tensor, elementCount, int, string } from '../ir/index.js';
import type { Dim, Shape, Value } from '../ir/index.js';
import { inAxis, outAxis } from './axes.js';
import { wrapIndex } from './broadcast.js';
import { impossible, stridesOf } from './elements.js';
import { expandLike, knownShape, noGradient, scalarLike } from './gradient-parts.js';
import { defineOp } from './definition.js';
import type { AxisLink, GradientContext, InferContext, OpDefinition } from './definition.js';
import { combinerOf, reductionOf } from './tensor-scatter.js';

/** First elements of the slices that the coordinates name in data of these dims, below `batch` shared axes. */
function sliceStarts(index: Tensor, dims: readonly number[], batch: number): number[] {
  const depth = index.dims.at(-1) ?? 0;
  const strides = stridesOf(dims);
  const perBatch = elementCount(index.dims.slice(batch));
  const batchSize = elementCount(dims.slice(batch));
  return Array.from({ length: elementCount(index.dims.slice(0, -1)) }, (_, row) => {
    let at = Math.floor((row * depth) / Math.max(1, perBatch)) * batchSize;
    for (let k = 0; k < depth; k++) {
      const picked = index.data[row * depth + k] as number;
      at += wrapIndex(picked, dims[batch + k] as number) * (strides[batch + k] as number);
    }
    return at;
  });
}

const depthOf = (ctx: InferContext, index: Shape): number | undefined => {
  const depth = index.at(-1);
  if (depth === undefined) ctx.fail('its indices are a scalar');
  return typeof depth === 'number' ? depth : undefined;
};

/** Axes of the data inside one slice, each with its number there. */
function sliceAxes(ctx: InferContext, batch: number): [axis: number, k: number][] {
  const depth = depthOf(ctx, ctx.shape(1));
  if (depth === undefined) return [];
  return ctx
    .shape(0)
    .slice(batch + depth)
    .map((_, k) => [batch + depth + k, k]);
}

// ---- GatherND

const gatherNd = defineOp({
  type: 'GatherND',
  infer: (ctx) => {
    const { dtype, shape } = ctx.type(0);
    const index = ctx.type(1).shape;
    const depth = index && depthOf(ctx, index);
    if (!shape || !index || depth === undefined) return [{ dtype, shape: undefined }];
    const batch = ctx.attributes.int('batch_dims', 0);
    if (batch + depth > shape.length)
      ctx.fail(`${depth} coordinates below ${batch} batch axes for rank ${shape.length}`);
    return [{ dtype, shape: [...index.slice(0, -1), ...shape.slice(batch + depth)] }];
  },
  evaluate: (ctx) => {
    const [x, index] = [ctx.input(0), ctx.input(1)];
    const batch = ctx.attributes.int('batch_dims', 0);
    const tail = x.dims.slice(batch + (index.dims.at(-1) ?? 0));
    const size = elementCount(tail);
    const out = Tensor.zeros(x.dtype, [...index.dims.slice(0, -1), ...tail]);
    sliceStarts(index, x.dims, batch).forEach((at, i) =>
      out.data.set(x.data.subarray(at, at + size), i * size),
    );
    return [out];
  },
  parameters: [0],
  axes: (ctx) => {
    const batch = ctx.attributes.int('batch_dims', 0);
    const from = ctx.shape(1).length - 1;
    return sliceAxes(ctx, batch).map(([axis, k]) => ({
      axes: [inAxis(0, axis), outAxis(from + k)],
    }));
  },
  gradient: (ctx) => (ctx.wants(0) ? [gatherNdGradient(ctx)] : [undefined]),
  samples: (random) => [
    {
      label: 'elements',
      inputs: [random.tensor([3, 4]), Tensor.of('int64', [3, 2], [2, 1, 0, -1, 2, 1])],
    },
    {
      label: 'slices',
      inputs: [random.tensor([3, 2, 4]), Tensor.of('int64', [2, 2, 1], [2, 0, -1, 2])],
      constants: [1],
    },
    {
      label: 'below a batch axis',
      inputs: [random.tensor([2, 3, 2]), Tensor.of('int64', [2, 2, 1], [2, 0, 1, 1])],
      attributes: new Attributes({ batch_dims: int(1) }),
    },
    {
      label: 'elements below two batch axes',
      inputs: [random.tensor([2, 1, 4]), Tensor.of('int64', [2, 1, 1], [-1, 2])],
      constants: [1],
      attributes: new Attributes({ batch_dims: int(2) }),
    },
  ],
});

/** Numbers of the slices that an index operand names, [count]: constant where it is. */
function sliceNumbers(ctx: GradientContext, dims: readonly number[]): Value {
  const { b } = ctx;
  const index = ctx.input(1);
  const shape = knownShape(ctx.node, index);
  const depth = shape.at(-1) ?? 0;
  const batch = ctx.attributes.int('batch_dims', 0);
  const inner = elementCount(dims.slice(batch + depth));
  const known = index.constant?.load();
  if (known) return b.ints(...sliceStarts(known, dims, batch).map((at) => at / inner));
  const count = elementCount(shape.slice(0, -1));
  const extents = dims.slice(batch, batch + depth);
  const rows = b.op('Reshape', [index, b.ints(count, depth)]);
  const wrapped = b.op('Where', [
    b.op('Less', [rows, b.ints(0)]),
    b.op('Add', [rows, b.ints(...extents)]),
    rows,
  ]);
  const weighted = b.op('Mul', [wrapped, b.ints(...stridesOf(extents))]);
  const numbers = b.op('ReduceSum', [weighted, b.ints(1)], { attributes: { keepdims: int(0) } });
  const batches = elementCount(dims.slice(0, batch));
  if (batches === 1) return numbers;
  const each = elementCount(extents);
  const offsets = Array.from({ length: count }, (_, i) => Math.floor((i * batches) / count) * each);
  return b.op('Add', [numbers, b.ints(...offsets)]);
}

/** Slices added up where they came from: repeated ones must not race, as ScatterND's may. */
function gatherNdGradient(ctx: GradientContext): Value {
  const { b, node } = ctx;
  const dims = knownShape(node, ctx.input(0));
  const index = knownShape(node, ctx.input(1));
  const depth = index.at(-1) ?? 0;
  const inner = elementCount(dims.slice(ctx.attributes.int('batch_dims', 0) + depth));
  const count = elementCount(index.slice(0, -1));
  const numbers = b.op('Reshape', [sliceNumbers(ctx, dims), b.ints(count, 1)]);
  const zeros = b.op('Expand', [
    scalarLike(b, ctx.grad(), 0),
    b.ints(elementCount(dims) / Math.max(1, inner), inner),
  ]);
  const updates = b.op('Reshape', [ctx.grad(), b.ints(count, inner)]);
  const places = b.op('Expand', [numbers, b.ints(count, inner)]);
  const summed = b.op('ScatterElements', [zeros, places, updates], {
    attributes: { axis: int(0), reduction: string('add') },
  });
  return b.op('Reshape', [summed, b.ints(...dims)]);
}

// ---- ScatterND

const scatterNd = defineOp({
  type: 'ScatterND',
  infer: (ctx) => {
    combinerOf(ctx.attributes, (why) => ctx.fail(why));
    return [ctx.type(0)];
  },
  // A list of extents with some of them replaced.
  propagate: (ctx) => {
    const content = ctx.content(0);
    const index = ctx.numbers(1);
    const updates = ctx.content(2);
    if (!content || !index || !updates || ctx.shape(0).length !== 1) return undefined;
    if (index.length !== updates.length || reductionOf(ctx.attributes) !== 'none') return undefined;
    const next: Dim[] = [...content];
    index.forEach((at, i) => (next[wrapIndex(at, content.length)] = updates[i] as Dim));
    return next;
  },
  evaluate: (ctx) => {
    const [x, index, updates] = [ctx.input(0), ctx.input(1), ctx.input(2)];
    const combine = combinerOf(ctx.attributes, impossible);
    const out = new Tensor(x.dtype, x.dims, x.data.slice());
    const size = elementCount(x.dims.slice(index.dims.at(-1) ?? 0));
    sliceStarts(index, x.dims, 0).forEach((at, i) => {
      for (let k = 0; k < size; k++)
        out.data[at + k] = combine(
          out.data[at + k] as number,
          updates.data[i * size + k] as number,
        );
    });
    return [out];
  },
  gradient: (ctx) => {
    const { b, node } = ctx;
    const reduction = reductionOf(ctx.attributes);
    if (reduction === 'mul' && (ctx.wants(0) || ctx.wants(2)))
      noGradient(node, 'reduction=mul has no gradient rule');
    const replaced = (): Value =>
      b.op('ScatterND', [
        ctx.grad(),
        ctx.input(1),
        expandLike(b, scalarLike(b, ctx.grad(), 0), ctx.input(2)),
      ]);
    return [
      ctx.wants(0) ? (reduction === 'add' ? ctx.grad() : replaced()) : undefined,
      undefined,
      ctx.wants(2) ? b.op('GatherND', [ctx.grad(), ctx.input(1)]) : undefined,
    ];
  },
  keepsShape: true,
  axes: (ctx): AxisLink[] => {
    const from = ctx.shape(1).length - 1;
    return sliceAxes(ctx, 0).map(([axis, k]) => ({
      axes: [inAxis(0, axis), inAxis(2, from + k), outAxis(axis)],
    }));
  },
  samples: (random) => {
    const add = new Attributes({ reduction: string('add') });
    return [
      {
        label: 'elements',
        inputs: [
          random.tensor([3, 4]),
          Tensor.of('int64', [3, 2], [2, 1, 0, -1, 1, 1]),
          random.tensor([3]),
        ],
      },
      {
        label: 'slices',
        inputs: [
          random.tensor([4, 2, 3]),
          Tensor.of('int64', [2, 1], [3, 0]),
          random.tensor([2, 2, 3]),
        ],
        constants: [1],
      },
      {
        label: 'added to what is there',
        inputs: [
          random.tensor([4, 2]),
          Tensor.of('int64', [3, 1], [3, 0, 3]),
          random.tensor([3, 2]),
        ],
        attributes: add,
      },
      {
        label: 'multiplied, on integers',
        inputs: [
          Tensor.ints([1, 2, 3, 4]),
          Tensor.of('int64', [2, 1], [1, -1]),
          Tensor.ints([5, 6]),
        ],
        attributes: new Attributes({ reduction: string('mul') }),
      },
      {
        label: 'a list of extents',
        inputs: [Tensor.ints([1, 2, 3]), Tensor.of('int64', [1, 1], [1]), Tensor.ints([7])],
        constants: [0, 1, 2],
      },
    ];
  },
});

export const tensorNdOps: readonly OpDefinition[] = [gatherNd, scatterNd];
