// Operators that repeat their operand: Expand, Tile. In: any tensor. Out: its elements, some more than once.
// Invariant: the gradient sums over every repetition.

import { inAxis, outAxis } from './axes.js';
import { Tensor, elementCount } from '../ir/index.js';
import { broadcastShapes } from './broadcast.js';
import { defineOp } from './definition.js';
import { multiplyDims } from './dims.js';
import { broadcastDims, broadcastTo, copyStrided, stridesOf } from './elements.js';
import { constantOperand, knownShape, reduceSum, unbroadcast } from './gradient-parts.js';
import { movedContent } from './infer.js';
import { unknownShape } from './tensor-layout.js';
import type { AxisLink, OpDefinition } from './definition.js';

/** Longest list of known elements that is worth repeating. */
const LIMIT = 4096;

const expand = defineOp({
  type: 'Expand',
  // A class token, repeated for every image of the batch.
  parameters: [0],
  infer: (ctx) => {
    const { dtype, shape } = ctx.type(0);
    const target = ctx.content(1);
    if (shape && target) return [{ dtype, shape: broadcastShapes(ctx, [shape, target]) }];
    const rank = ctx.type(1).shape?.[0];
    const full = typeof rank === 'number' && shape ? Math.max(rank, shape.length) : undefined;
    return [{ dtype, shape: unknownShape(ctx, full) }];
  },
  propagate: (ctx) => {
    const target = ctx.numbers(1);
    return target && elementCount(target) <= LIMIT
      ? movedContent(ctx, (x) => broadcastTo(x, broadcastDims([x.dims, target])))
      : undefined;
  },
  evaluate: (ctx) => {
    const x = ctx.input(0);
    return [broadcastTo(x, broadcastDims([x.dims, ctx.input(1).toArray()]))];
  },
  gradient: (ctx) => [
    ctx.wants(0) ? unbroadcast(ctx.b, ctx.grad(), ctx.input(0).shape) : undefined,
  ],
  // Repeated axes are left alone.
  axes: (ctx) => {
    const [from, to] = [ctx.shape(0), ctx.node.outputs[0]?.shape ?? []];
    const target = ctx.content(1);
    return from.flatMap((extent, axis): AxisLink[] => {
      const out = axis - from.length + to.length;
      const asked = target?.[out - to.length + target.length];
      const kept = extent === to[out] && (extent !== 1 || asked === 1);
      return kept ? [{ axes: [inAxis(0, axis), outAxis(out)] }] : [];
    });
  },
  resized: (node, b) => {
    const target = node.input(1).constant?.load().toArray();
    const { shape } = node.output();
    if (!target || !shape) return;
    const spelled = target.map((d, i) => {
      const extent = shape[i - target.length + shape.length];
      return d !== 1 && typeof extent === 'number' ? extent : d;
    });
    if (spelled.some((d, i) => d !== target[i])) node.setInput(1, b.ints(...spelled));
  },
  samples: (random) => [
    { label: 'one axis', inputs: [random.tensor([3, 1]), Tensor.ints([3, 4])], constants: [1] },
    { label: 'new axes', inputs: [random.tensor([3, 1]), Tensor.ints([2, 1, 4])], constants: [1] },
    {
      label: 'integers that are known',
      inputs: [Tensor.of('int64', [2, 1], [4, 7]), Tensor.ints([3, 1, 2])],
      constants: [0, 1],
    },
    {
      label: 'ones in the target',
      inputs: [random.tensor([2, 3]), Tensor.ints([1, 1])],
      constants: [1],
    },
  ],
});

const tile = defineOp({
  type: 'Tile',
  infer: (ctx) => {
    const { dtype, shape } = ctx.type(0);
    const repeats = ctx.content(1);
    return [
      {
        dtype,
        shape: shape?.map((d, i) => (repeats ? multiplyDims([d, repeats[i] ?? 1]) : ctx.fresh())),
      },
    ];
  },
  evaluate: (ctx) => {
    const x = ctx.input(0);
    const repeats = ctx.input(1).toArray();
    // Axis i becomes (repeat, extent), the repeat with stride 0.
    const strides = stridesOf(x.dims);
    const dims = x.dims.flatMap((d, i) => [repeats[i] ?? 1, d]);
    const data = copyStrided(
      x.data,
      dims,
      strides.flatMap((s) => [0, s]),
    );
    return [
      new Tensor(
        x.dtype,
        x.dims.map((d, i) => d * (repeats[i] ?? 1)),
        data,
      ),
    ];
  },
  gradient: (ctx) => {
    if (!ctx.wants(0)) return [undefined];
    const { b } = ctx;
    const repeats = constantOperand(ctx.node, 1) ?? [];
    const dims = knownShape(ctx.node, ctx.input(0));
    const split = dims.flatMap((d, i) => [repeats[i] ?? 1, d]);
    const apart = b.op('Reshape', [ctx.grad(), b.ints(...split)]);
    return [
      reduceSum(
        b,
        apart,
        dims.map((_, i) => 2 * i),
        false,
      ),
    ];
  },
  samples: (random) => [
    { label: 'two axes', inputs: [random.tensor([2, 3]), Tensor.ints([2, 3])], constants: [1] },
    {
      label: 'one axis',
      inputs: [random.tensor([2, 1, 3]), Tensor.ints([1, 4, 1])],
      constants: [1],
    },
  ],
});

export const tensorRepeatOps: readonly OpDefinition[] = [expand, tile];
