// Picking and placing single elements by index: GatherElements, ScatterElements, OneHot. In: tensors and
// integer indices. Out: the elements picked or placed. Invariant: a negative index counts from the end.

import { Attributes, Tensor, elementCount, int, string } from '../ir/index.js';
import type { Value } from '../ir/index.js';
import { axisOf, inferAxis, wrapIndex } from './broadcast.js';
import { impossible, stridesOf } from './elements.js';
import { expandLike, noGradient, scalarLike } from './gradient-parts.js';
import { defineOp } from './definition.js';
import type { OpDefinition } from './definition.js';

// ---- GatherElements and ScatterElements

/** Offsets into `dims` of the places that `index` names along an axis. */
function elementOffsets(index: Tensor, dims: readonly number[], axis: number): number[] {
  const strides = stridesOf(dims);
  const own = stridesOf(index.dims);
  const extent = dims[axis] as number;
  return Array.from(index.data, (picked, flat) =>
    own.reduce((at, stride, i) => {
      const position = Math.floor(flat / stride) % (index.dims[i] as number);
      return at + (i === axis ? wrapIndex(picked, extent) : position) * (strides[i] as number);
    }, 0),
  );
}

const gatherElements = defineOp({
  type: 'GatherElements',
  infer: (ctx) => [{ dtype: ctx.type(0).dtype, shape: ctx.type(1).shape }],
  evaluate: (ctx) => {
    const x = ctx.input(0);
    const index = ctx.input(1);
    const offsets = elementOffsets(index, x.dims, axisOf(ctx.attributes, x.dims.length));
    return [
      Tensor.of(
        x.dtype,
        index.dims,
        offsets.map((at) => x.data[at] as number),
      ),
    ];
  },
  gradient: (ctx) => {
    if (!ctx.wants(0)) return [undefined];
    const { b } = ctx;
    const zeros = expandLike(b, scalarLike(b, ctx.grad(), 0), ctx.input(0));
    const attributes = {
      axis: int(ctx.attributes.int('axis', 0)),
      reduction: string('add'),
    };
    return [b.op('ScatterElements', [zeros, ctx.input(1), ctx.grad()], { attributes })];
  },
  samples: (random) => [
    {
      label: 'one per row',
      inputs: [random.tensor([3, 4]), Tensor.of('int64', [3, 1], [2, 0, -1])],
      attributes: new Attributes({ axis: int(1) }),
    },
    {
      label: 'repeated',
      inputs: [random.tensor([3, 2]), Tensor.of('int64', [2, 2], [1, 1, 1, 0])],
    },
  ],
});

type Combine = (old: number, update: number) => number;

const COMBINERS: ReadonlyMap<string, Combine> = new Map([
  ['none', (_, update) => update],
  ['add', (old, update) => old + update],
  ['mul', (old, update) => old * update],
]);

export const reductionOf = (attributes: Attributes): string =>
  attributes.string('reduction', 'none');

/** What an update makes of the element it lands on. */
export const combinerOf = (attributes: Attributes, fail: (why: string) => never): Combine =>
  COMBINERS.get(reductionOf(attributes)) ?? fail(`its reduction is ${reductionOf(attributes)}`);

const scatterElements = defineOp({
  type: 'ScatterElements',
  infer: (ctx) => {
    combinerOf(ctx.attributes, (why) => ctx.fail(why));
    return [ctx.type(0)];
  },
  evaluate: (ctx) => {
    const x = ctx.input(0);
    const updates = ctx.input(2);
    const combine = combinerOf(ctx.attributes, impossible);
    const offsets = elementOffsets(ctx.input(1), x.dims, axisOf(ctx.attributes, x.dims.length));
    const out = new Tensor(x.dtype, x.dims, x.data.slice());
    offsets.forEach((at, i) => {
      out.data[at] = combine(out.data[at] as number, updates.data[i] as number);
    });
    return [out];
  },
  gradient: (ctx) => {
    const { b } = ctx;
    const reduction = reductionOf(ctx.attributes);
    if (reduction === 'mul' && (ctx.wants(0) || ctx.wants(2)))
      noGradient(ctx.node, 'reduction=mul has no gradient rule');
    const attributes = { axis: int(ctx.attributes.int('axis', 0)) };
    const replaced = (): Value => {
      const zeros = expandLike(b, scalarLike(b, ctx.grad(), 0), ctx.input(2));
      return b.op('ScatterElements', [ctx.grad(), ctx.input(1), zeros], { attributes });
    };
    return [
      ctx.wants(0) ? (reduction === 'add' ? ctx.grad() : replaced()) : undefined,
      undefined,
      ctx.wants(2) ? b.op('GatherElements', [ctx.grad(), ctx.input(1)], { attributes }) : undefined,
    ];
  },
  keepsShape: true,
  // The places of the indices are meant for these extents.
  axes: () => [],
  samples: (random) => [
    {
      label: 'replace',
      inputs: [
        random.tensor([3, 4]),
        Tensor.of('int64', [2, 2], [1, 0, 2, -1]),
        random.tensor([2, 2]),
      ],
    },
    {
      label: 'add up',
      inputs: [
        random.tensor([2, 5]),
        Tensor.of('int64', [2, 3], [1, 1, 4, 0, 1, 0]),
        random.tensor([2, 3]),
      ],
      attributes: new Attributes({ axis: int(1), reduction: string('add') }),
    },
    {
      label: 'multiplied, on integers',
      inputs: [Tensor.ints([1, 2, 3]), Tensor.ints([2, 0, -1]), Tensor.ints([5, 6, 7])],
      attributes: new Attributes({ reduction: string('mul') }),
      differentiable: [],
    },
  ],
});

// ---- OneHot

const oneHot = defineOp({
  type: 'OneHot',
  infer: (ctx) => {
    const { dtype } = ctx.type(2);
    const { shape } = ctx.type(0);
    if (!shape) return [{ dtype, shape }];
    const axis = inferAxis(ctx, shape.length + 1, -1);
    const depth = ctx.content(1)?.[0] ?? ctx.fresh();
    return [{ dtype, shape: [...shape.slice(0, axis), depth, ...shape.slice(axis)] }];
  },
  evaluate: (ctx) => {
    const index = ctx.input(0);
    const depth = ctx.input(1).data[0] as number;
    const [off, on] = ctx.input(2).toArray() as [number, number];
    const axis = axisOf(ctx.attributes, index.dims.length + 1, -1);
    const dims = [...index.dims.slice(0, axis), depth, ...index.dims.slice(axis)];
    const inner = elementCount(index.dims.slice(axis));
    const out = new Tensor(
      ctx.input(2).dtype,
      dims,
      new Float64Array(elementCount(dims)).fill(off),
    );
    index.data.forEach((picked, flat) => {
      const at = wrapIndex(picked, depth);
      // An index out of range names no element.
      if (at < 0 || at >= depth) return;
      out.data[(Math.floor(flat / inner) * depth + at) * inner + (flat % inner)] = on;
    });
    return [out];
  },
  nonDifferentiable: true,
  samples: () => [
    {
      label: 'labels',
      inputs: [Tensor.ints([2, 0, 3, -1, 7]), Tensor.ints([4]), Tensor.of('float32', [2], [0, 1])],
      constants: [1, 2],
    },
    {
      label: 'axis 0',
      inputs: [
        Tensor.of('int64', [2, 2], [2, 0, 1, 1]),
        Tensor.ints([3]),
        Tensor.of('float32', [2], [-1, 2]),
      ],
      constants: [1, 2],
      attributes: new Attributes({ axis: int(0) }),
    },
  ],
});

export const tensorScatterOps: readonly OpDefinition[] = [gatherElements, scatterElements, oneHot];
