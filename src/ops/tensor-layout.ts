// Operators that only move elements or rename axes: Reshape, Flatten, Transpose, Squeeze, Unsqueeze. In: any tensor. Out: the same elements. Invariant: a symbolic extent that survives keeps its name.

import { Attributes, Tensor, elementCount, int, ints } from '../ir/index.js';
import type { Dim, Shape, Value } from '../ir/index.js';
import { layoutAxes, movedAxes } from './axes.js';
import { normalizeAxes } from './broadcast.js';
import { impossible, permute } from './elements.js';
import { reshapeLike } from './gradient-parts.js';
import { movedContent } from './infer.js';
import { defineOp } from './definition.js';
import type { GradientContext, InferContext, OpDefinition } from './definition.js';
import { divideDims, multiplyDims } from './dims.js';

/** The gradient of everything that keeps the order of the elements: back to the operand's shape. */
const reshapeBack = (ctx: GradientContext): (Value | undefined)[] => [
  ctx.wants(0) ? reshapeLike(ctx.b, ctx.grad(), ctx.input(0)) : undefined,
];

/** A single known element stays known when only its shape changes; so do lists. */
const sameContent = (ctx: InferContext): readonly Dim[] | undefined => ctx.content(0);

export const unknownShape = (ctx: InferContext, rank: Dim | undefined): Shape | undefined =>
  typeof rank === 'number' ? Array.from({ length: rank }, () => ctx.fresh()) : undefined;

// ---- Reshape

function reshapedTo(ctx: InferContext, shape: Shape | undefined, target: readonly Dim[]): Shape {
  const zeros = ctx.attributes.int('allowzero', 0) === 0;
  const dims = target.map((d, i): Dim => {
    if (d !== 0 || !zeros) return d;
    return shape?.[i] ?? (shape ? ctx.fail(`the target has a 0 at axis ${i}`) : ctx.fresh());
  });
  const open = dims.indexOf(-1);
  const rest = multiplyDims(dims.filter((_, i) => i !== open));
  const all = shape && multiplyDims(shape);
  if (open < 0) {
    if (typeof all === 'number' && typeof rest === 'number' && all !== rest)
      ctx.fail(`[${shape?.join(',') ?? ''}] cannot become [${dims.join(',')}]`);
    return dims;
  }
  if (dims.indexOf(-1, open + 1) >= 0) ctx.fail('the target has more than one −1');
  const left = all === undefined ? undefined : divideDims(all, rest);
  if (left === undefined && typeof all === 'number' && typeof rest === 'number')
    ctx.fail(`[${shape?.join(',') ?? ''}] cannot become [${dims.join(',')}]`);
  return dims.map((d, i) => (i === open ? (left ?? ctx.fresh()) : d));
}

const reshape = defineOp({
  type: 'Reshape',
  infer: (ctx) => {
    const { dtype, shape } = ctx.type(0);
    const target = ctx.content(1);
    if (target) return [{ dtype, shape: reshapedTo(ctx, shape, target) }];
    return [{ dtype, shape: unknownShape(ctx, ctx.type(1).shape?.[0]) }];
  },
  propagate: sameContent,
  evaluate: (ctx) => {
    const x = ctx.input(0);
    const zeros = ctx.attributes.int('allowzero', 0) === 0;
    const dims = ctx
      .input(1)
      .toArray()
      .map((d, i) => (d === 0 && zeros ? (x.dims[i] as number) : d));
    const open = dims.indexOf(-1);
    if (open >= 0) dims[open] = x.size / elementCount(dims.filter((_, i) => i !== open));
    return [x.reshape(dims)];
  },
  gradient: reshapeBack,
  axes: (ctx) => layoutAxes(ctx.node.inputs[0]?.shape, ctx.node.outputs[0]?.shape),
  resized: (node, b) => {
    const target = node.input(1).constant?.load().toArray();
    const { shape } = node.output();
    if (!target || !shape) return;
    const spelled = target.map((d, i) => {
      const extent = shape[i];
      return d > 0 && typeof extent === 'number' ? extent : d;
    });
    if (spelled.some((d, i) => d !== target[i])) node.setInput(1, b.ints(...spelled));
  },
  samples: (random) => [
    { label: 'plain', inputs: [random.tensor([2, 6]), Tensor.ints([3, 4])], constants: [1] },
    {
      label: 'minus one',
      inputs: [random.tensor([2, 3, 4]), Tensor.ints([2, -1])],
      constants: [1],
    },
    {
      label: 'zero copies',
      inputs: [random.tensor([2, 3, 4]), Tensor.ints([0, -1])],
      constants: [1],
    },
    {
      label: 'joined rows',
      inputs: [random.tensor([2, 3, 4]), Tensor.ints([6, 4])],
      constants: [1],
    },
    {
      label: 'split in the middle',
      inputs: [random.tensor([2, 6, 5]), Tensor.ints([2, 2, 3, 5])],
      constants: [1],
    },
    { label: 'to a scalar', inputs: [random.tensor([1, 1]), Tensor.ints([])], constants: [1] },
    {
      label: 'allowzero',
      inputs: [random.tensor([0, 3]), Tensor.ints([3, 0])],
      constants: [1],
      attributes: new Attributes({ allowzero: int(1) }),
    },
  ],
});

// ---- Flatten

const flattenAxis = (attributes: Attributes, rank: number): number => {
  const axis = attributes.int('axis', 1);
  return axis < 0 ? axis + rank : axis;
};

const flatten = defineOp({
  type: 'Flatten',
  infer: (ctx) => {
    const { dtype, shape } = ctx.type(0);
    if (!shape) return [{ dtype, shape: [ctx.fresh(), ctx.fresh()] }];
    const axis = flattenAxis(ctx.attributes, shape.length);
    return [
      { dtype, shape: [multiplyDims(shape.slice(0, axis)), multiplyDims(shape.slice(axis))] },
    ];
  },
  evaluate: (ctx) => {
    const x = ctx.input(0);
    const axis = flattenAxis(ctx.attributes, x.dims.length);
    return [x.reshape([elementCount(x.dims.slice(0, axis)), elementCount(x.dims.slice(axis))])];
  },
  gradient: reshapeBack,
  axes: (ctx) => layoutAxes(ctx.node.inputs[0]?.shape, ctx.node.outputs[0]?.shape),
  samples: (random) => [
    { label: 'default axis', inputs: [random.tensor([2, 3, 2, 2])] },
    {
      label: 'axis 0',
      inputs: [random.tensor([2, 3])],
      attributes: new Attributes({ axis: int(0) }),
    },
    {
      label: 'axis -1',
      inputs: [random.tensor([2, 3, 4])],
      attributes: new Attributes({ axis: int(-1) }),
    },
  ],
});

// ---- Transpose

const permutation = (attributes: Attributes, rank: number): readonly number[] =>
  attributes.ints('perm') ?? Array.from({ length: rank }, (_, i) => rank - 1 - i);

const transpose = defineOp({
  type: 'Transpose',
  infer: (ctx) => {
    const { dtype, shape } = ctx.type(0);
    if (!shape) return [{ dtype, shape }];
    const perm = permutation(ctx.attributes, shape.length);
    if (perm.length !== shape.length) ctx.fail(`perm [${perm.join(',')}] on rank ${shape.length}`);
    return [{ dtype, shape: perm.map((p) => shape[p] ?? ctx.fail(`perm names axis ${p}`)) }];
  },
  propagate: (ctx) =>
    movedContent(ctx, (x) => permute(x, permutation(ctx.attributes, x.dims.length))),
  evaluate: (ctx) => {
    const x = ctx.input(0);
    return [permute(x, permutation(ctx.attributes, x.dims.length))];
  },
  gradient: (ctx) => {
    if (!ctx.wants(0)) return [undefined];
    const perm = permutation(ctx.attributes, ctx.grad().shape?.length ?? 0);
    const back = perm.map((_, i) => perm.indexOf(i));
    return [ctx.b.op('Transpose', [ctx.grad()], { attributes: { perm: ints(back) } })];
  },
  axes: (ctx) => {
    const perm = permutation(ctx.attributes, ctx.shape(0).length);
    return movedAxes(perm.length, (axis) => perm.indexOf(axis));
  },
  samples: (random) => [
    { label: 'default', inputs: [random.tensor([2, 3, 4])] },
    {
      label: 'integers that are known',
      inputs: [Tensor.of('int64', [3, 2], [0, 1, 2, 3, 4, 5])],
      constants: [0],
    },
    {
      label: 'three cycle',
      inputs: [random.tensor([2, 3, 4, 2])],
      attributes: new Attributes({ perm: ints([2, 0, 3, 1]) }),
    },
  ],
});

// ---- Squeeze and Unsqueeze

/** Axes that a Squeeze removes; undefined while it cannot be said. */
function squeezedAxes(ctx: InferContext, shape: Shape): number[] | undefined {
  if (ctx.has(1)) {
    const axes = ctx.numbers(1);
    return axes && normalizeAxes(axes, shape.length, (why) => ctx.fail(why));
  }
  if (shape.some((d) => typeof d === 'string')) return undefined;
  return shape.flatMap((d, i) => (d === 1 ? [i] : []));
}

const squeeze = defineOp({
  type: 'Squeeze',
  infer: (ctx) => {
    const { dtype, shape } = ctx.type(0);
    const axes = shape && squeezedAxes(ctx, shape);
    if (!axes) return [{ dtype, shape: undefined }];
    for (const axis of axes)
      if (typeof shape[axis] === 'number' && shape[axis] !== 1)
        ctx.fail(`axis ${axis} of [${shape.join(',')}] is not 1`);
    return [{ dtype, shape: shape.filter((_, i) => !axes.includes(i)) }];
  },
  propagate: sameContent,
  evaluate: (ctx) => {
    const x = ctx.input(0);
    const axes = ctx.inputs[1]
      ? normalizeAxes(ctx.input(1).toArray(), x.dims.length, impossible)
      : x.dims.flatMap((d, i) => (d === 1 ? [i] : []));
    return [x.reshape(x.dims.filter((_, i) => !axes.includes(i)))];
  },
  gradient: reshapeBack,
  axes: (ctx) => {
    const shape = ctx.shape(0);
    const axes = squeezedAxes(ctx, shape);
    return axes
      ? movedAxes(shape.length, (axis) =>
          axes.includes(axis) ? undefined : axis - axes.filter((gone) => gone < axis).length,
        ).filter((_, axis) => !axes.includes(axis))
      : [];
  },
  samples: (random) => [
    { label: 'all', inputs: [random.tensor([1, 3, 1, 2])] },
    { label: 'axes', inputs: [random.tensor([1, 3, 1, 2]), Tensor.ints([-2])], constants: [1] },
  ],
});

const unsqueezed = <T>(dims: readonly T[], one: T, axes: readonly number[]): T[] => {
  const out = [...dims];
  for (const axis of axes) out.splice(axis, 0, one);
  return out;
};

const unsqueeze = defineOp({
  type: 'Unsqueeze',
  infer: (ctx) => {
    const { dtype, shape } = ctx.type(0);
    const axes = ctx.numbers(1);
    if (!shape || !axes) return [{ dtype, shape: undefined }];
    const normal = normalizeAxes(axes, shape.length + axes.length, (why) => ctx.fail(why));
    return [{ dtype, shape: unsqueezed<Dim>(shape, 1, normal) }];
  },
  propagate: sameContent,
  evaluate: (ctx) => {
    const x = ctx.input(0);
    const axes = ctx.input(1).toArray();
    const normal = normalizeAxes(axes, x.dims.length + axes.length, impossible);
    return [x.reshape(unsqueezed(x.dims, 1, normal))];
  },
  gradient: reshapeBack,
  axes: (ctx) => {
    const axes = ctx.numbers(1);
    const shape = ctx.shape(0);
    if (!axes) return [];
    const normal = normalizeAxes(axes, shape.length + axes.length, (why) => ctx.fail(why));
    const places = unsqueezed<number>([...shape.keys()], -1, normal);
    return movedAxes(shape.length, (axis) => places.indexOf(axis));
  },
  samples: (random) => [
    { label: 'front', inputs: [random.tensor([2, 3]), Tensor.ints([0])], constants: [1] },
    { label: 'several', inputs: [random.tensor([2, 3]), Tensor.ints([-1, 1])], constants: [1] },
    { label: 'scalar', inputs: [random.tensor([]), Tensor.ints([0])], constants: [1] },
  ],
});

export const tensorLayoutOps: readonly OpDefinition[] = [
  reshape,
  flatten,
  transpose,
  squeeze,
  unsqueeze,
];
