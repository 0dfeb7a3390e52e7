// Joining, splitting and picking whole slices: Concat, Split, Gather. In: tensors and integer indices. Out:
// the slices picked. Invariant: a negative index counts from the end.

import { Attributes, Tensor, elementCount, int, ints, isFloat, string } from '../ir/index.js';
import type { Dim, Shape, Value } from '../ir/index.js';
import { inAxis, movedAxes, outAxis } from './axes.js';
import { axisOf, inferAxis, wrapIndex } from './broadcast.js';
import { takeAlong } from './elements.js';
import { expandLike, knownShape, noGradient, scalarLike } from './gradient-parts.js';
import { REVNETIFY, defineOp } from './definition.js';
import type { GradientContext, InferContext, OpDefinition } from './definition.js';

// ---- Concat

function concatShape(ctx: InferContext): Shape | undefined {
  const types = Array.from({ length: ctx.inputCount }, (_, i) => ctx.type(i));
  const shapes = types.flatMap((t) => (t.shape ? [t.shape] : []));
  const rank = shapes[0]?.length;
  if (rank === undefined || shapes.length < types.length) return undefined;
  if (shapes.some((s) => s.length !== rank)) ctx.fail('operands differ in rank');
  const axis = inferAxis(ctx, rank);
  return Array.from({ length: rank }, (_, i): Dim => {
    const dims = shapes.map((s) => s[i] as Dim);
    if (i !== axis) {
      const numbers = new Set(dims.filter((d) => typeof d === 'number'));
      if (numbers.size > 1) ctx.fail(`operands differ along axis ${i}`);
      return [...numbers][0] ?? (dims[0] as Dim);
    }
    if (dims.length === 1) return dims[0] as Dim;
    return dims.every((d) => typeof d === 'number') ? dims.reduce((a, d) => a + d, 0) : ctx.fresh();
  });
}

const concat = defineOp({
  type: 'Concat',
  infer: (ctx) => [{ dtype: ctx.type(0).dtype, shape: concatShape(ctx) }],
  propagate: (ctx) => {
    const rank = ctx.type(0).shape?.length;
    // Lists one behind the other; along a later axis their rows would have to be woven.
    if (rank === undefined || inferAxis(ctx, rank) !== 0) return undefined;
    const parts = Array.from({ length: ctx.inputCount }, (_, i) => ctx.content(i));
    // What is unknown but has a known length takes its place as fresh symbols.
    const filled = parts.map((part, i): readonly Dim[] | undefined => {
      if (part) return part;
      const shape = ctx.type(i).shape;
      const count = shape?.length === 1 ? shape[0] : undefined;
      return typeof count === 'number' && count <= 16 && !isFloat(ctx.type(i).dtype)
        ? Array.from({ length: count }, () => ctx.fresh())
        : undefined;
    });
    if (parts.every((p) => !p) || filled.some((p) => !p)) return undefined;
    return filled.flatMap((part) => part ?? []);
  },
  evaluate: (ctx) => {
    const parts = ctx.inputs.flatMap((t) => (t ? [t] : []));
    const first = ctx.input(0);
    const axis = axisOf(ctx.attributes, first.dims.length);
    const dims = first.dims.map((d, i) =>
      i === axis ? parts.reduce((n, t) => n + (t.dims[i] as number), 0) : d,
    );
    const out = Tensor.zeros(first.dtype, dims);
    const row = elementCount(dims.slice(axis));
    const outer = elementCount(dims.slice(0, axis));
    let at = 0;
    for (const part of parts) {
      const own = elementCount(part.dims.slice(axis));
      for (let o = 0; o < outer; o++)
        out.data.set(part.data.subarray(o * own, (o + 1) * own), o * row + at);
      at += own;
    }
    return [out];
  },
  gradient: (ctx) => {
    const { b, node } = ctx;
    const axis = axisOf(ctx.attributes, ctx.output().shape?.length ?? 0);
    let at = 0;
    return node.inputs.map((value, i) => {
      if (!value) return undefined;
      const extent = value.shape?.[axis];
      if (typeof extent !== 'number')
        return ctx.wants(i)
          ? noGradient(node, `the extent of ${value.name} is not known`)
          : undefined;
      const start = at;
      at += extent;
      if (!ctx.wants(i)) return undefined;
      return b.op('Slice', [ctx.grad(), b.ints(start), b.ints(at), b.ints(axis)]);
    });
  },
  samples: (random) => [
    {
      label: 'three along channels',
      inputs: [random.tensor([2, 1, 3]), random.tensor([2, 2, 3]), random.tensor([2, 3, 3])],
      attributes: new Attributes({ axis: int(1) }),
    },
    {
      label: 'integers that are known',
      inputs: [Tensor.of('int64', [1, 2], [4, 7]), Tensor.of('int64', [2, 2], [1, 2, 3, 5])],
      constants: [0, 1],
      attributes: new Attributes({ axis: int(0) }),
    },
    {
      label: 'integers that are known, woven',
      inputs: [Tensor.of('int64', [2, 1], [4, 7]), Tensor.of('int64', [2, 2], [1, 2, 3, 5])],
      constants: [0, 1],
      attributes: new Attributes({ axis: int(-1) }),
    },
    {
      label: 'negative axis',
      inputs: [random.tensor([2, 3]), random.tensor([2, 1])],
      attributes: new Attributes({ axis: int(-1) }),
    },
  ],
});

// ---- Split

/** Extents of the parts; undefined while they are not known. */
function parts(
  given: readonly Dim[] | undefined,
  hasOperand: boolean,
  extent: Dim,
  count: number,
): readonly Dim[] | undefined {
  if (hasOperand) return given;
  if (count === 1) return [extent];
  if (typeof extent !== 'number') return undefined;
  const each = Math.ceil(extent / count);
  return Array.from({ length: count }, (_, i) => Math.min(each, extent - i * each));
}

const split = defineOp({
  type: 'Split',
  infer: (ctx) => {
    const { dtype, shape } = ctx.type(0);
    const count = ctx.outputCount;
    if (!shape) return Array.from({ length: count }, () => ({ dtype, shape }));
    const axis = inferAxis(ctx, shape.length);
    const extents = parts(ctx.content(1), ctx.has(1), shape[axis] as Dim, count);
    return Array.from({ length: count }, (_, k) => ({
      dtype,
      shape: shape.map((d, i) => (i === axis ? (extents?.[k] ?? ctx.fresh()) : d)),
    }));
  },
  evaluate: (ctx) => {
    const x = ctx.input(0);
    const axis = axisOf(ctx.attributes, x.dims.length);
    const given = ctx.inputs[1]?.toArray();
    const extents = parts(given, !!given, x.dims[axis] as number, ctx.outputCount) ?? [];
    let at = 0;
    return extents.map((extent) => {
      const indices = Array.from({ length: extent as number }, (_, i) => at + i);
      at += extent as number;
      return takeAlong(x, axis, indices);
    });
  },
  gradient: (ctx) => {
    if (!ctx.wants(0)) return [undefined];
    const { b } = ctx;
    const grads = ctx.node.outputs.map((value, i) => {
      if (ctx.hasGrad(i)) return ctx.grad(i);
      if (!value) noGradient(ctx.node, `output ${i} is left out`);
      return expandLike(b, scalarLike(b, value, 0), value);
    });
    return [b.op('Concat', grads, { attributes: { axis: int(ctx.attributes.int('axis', 0)) } })];
  },
  samples: (random) => [
    {
      label: 'halves',
      inputs: [random.tensor([2, 4, 3])],
      attributes: new Attributes({ axis: int(1) }),
      outputs: 2,
    },
    {
      label: 'uneven',
      inputs: [random.tensor([5, 2]), Tensor.ints([1, 4])],
      constants: [1],
      outputs: 2,
    },
    {
      label: 'last axis in three',
      inputs: [random.tensor([2, 6]), Tensor.ints([1, 2, 3])],
      constants: [1],
      attributes: new Attributes({ axis: int(-1) }),
      outputs: 3,
    },
  ],
});

// ---- Gather

const gather = defineOp({
  type: 'Gather',
  infer: (ctx) => {
    const { dtype, shape } = ctx.type(0);
    const index = ctx.type(1).shape;
    if (!shape || !index) return [{ dtype, shape: undefined }];
    const axis = inferAxis(ctx, shape.length);
    return [{ dtype, shape: [...shape.slice(0, axis), ...index, ...shape.slice(axis + 1)] }];
  },
  propagate: (ctx) => {
    const content = ctx.content(0);
    const indices = ctx.numbers(1);
    if (!content || !indices || ctx.shape(0).length !== 1) return undefined;
    return indices.map((i) => content[wrapIndex(i, content.length)] ?? ctx.fail(`index ${i}`));
  },
  evaluate: (ctx) => {
    const x = ctx.input(0);
    const index = ctx.input(1);
    const axis = axisOf(ctx.attributes, x.dims.length);
    const extent = x.dims[axis] as number;
    const picked = takeAlong(
      x,
      axis,
      index.toArray().map((i) => wrapIndex(i, extent)),
    );
    return [picked.reshape([...x.dims.slice(0, axis), ...index.dims, ...x.dims.slice(axis + 1)])];
  },
  // An embedding table.
  parameters: [0],
  initial: (_, dims) => ({ fanIn: dims.at(-1) ?? 1 }),
  axes: (ctx) => {
    const rank = ctx.shape(0).length;
    const axis = inferAxis(ctx, rank);
    const indices = ctx.shape(1).map((_, i) => ({ axes: [inAxis(1, i), outAxis(axis + i)] }));
    const shift = indices.length - 1;
    const kept = movedAxes(rank, (i) => (i < axis ? i : i + shift));
    return [...kept.filter((_, i) => i !== axis), ...(ctx.node.inputs[1]?.constant ? [] : indices)];
  },
  gradient: (ctx) => (ctx.wants(0) ? [gatherGradient(ctx)] : [undefined]),
  samples: (random) => [
    { label: 'rows', inputs: [random.tensor([5, 3]), Tensor.ints([4, 0, 4])], constants: [1] },
    {
      label: 'one index along axis 1',
      inputs: [random.tensor([2, 4, 3]), Tensor.of('int64', [], [-3])],
      constants: [1],
      attributes: new Attributes({ axis: int(1) }),
    },
    {
      label: 'tokens of an embedding table, some twice, some from the end',
      inputs: [random.tensor([5, 3]), Tensor.of('int64', [2, 3], [4, 0, 4, -1, 2, -5])],
    },
    {
      label: 'a position table that is constant',
      inputs: [random.tensor([4, 2]), Tensor.of('int64', [2, 2, 2], [0, 1, 1, 0, -1, 2, 2, 3])],
      constants: [1],
    },
    {
      label: 'a matrix of indices that are fed',
      inputs: [random.tensor([2, 4]), Tensor.of('int64', [2, 2], [3, 0, 0, 1])],
      attributes: new Attributes({ axis: int(-1) }),
    },
  ],
});

/** One constant index is a slice put back; otherwise updates are added up where they came from. */
function gatherGradient(ctx: GradientContext): Value {
  const { b, node } = ctx;
  const dims = knownShape(node, ctx.input(0));
  const index = ctx.input(1);
  const axis = axisOf(ctx.attributes, dims.length);
  const extent = dims[axis] as number;
  const outer = elementCount(dims.slice(0, axis));
  const inner = elementCount(dims.slice(axis + 1));
  const count = elementCount(knownShape(node, index));
  const fixed = count === 1 ? index.constant?.load().data[0] : undefined;
  if (fixed !== undefined) {
    const at = wrapIndex(fixed, extent);
    const one = b.op('Reshape', [ctx.grad(), b.ints(...dims.map((d, i) => (i === axis ? 1 : d)))]);
    return b.op(`${REVNETIFY}.SliceGrad`, [one], {
      attributes: {
        starts: ints([at]),
        ends: ints([at + 1]),
        axes: ints([axis]),
        steps: ints([1]),
        input_shape: ints(dims),
      },
    });
  }
  const updates = b.op('Reshape', [ctx.grad(), b.ints(outer, count, inner)]);
  const places = b.op('Expand', [
    b.op('Reshape', [index, b.ints(1, count, 1)]),
    b.ints(outer, count, inner),
  ]);
  const zeros = b.op('Expand', [scalarLike(b, updates, 0), b.ints(outer, extent, inner)]);
  const summed = b.op('ScatterElements', [zeros, places, updates], {
    attributes: { axis: int(1), reduction: string('add') },
  });
  return b.op('Reshape', [summed, b.ints(...dims)]);
}

export const tensorSelectOps: readonly OpDefinition[] = [concat, split, gather];
