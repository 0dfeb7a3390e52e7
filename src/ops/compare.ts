// Comparisons, logic and choice. In: operands under broadcasting. Out: booleans (0 and 1), or for Where the
// chosen elements. Invariant: no gradient flows through a comparison; Where passes it on to what was chosen.

import { Attributes, Tensor, int } from '../ir/index.js';
import type { Dim, Value } from '../ir/index.js';
import { broadcastAxes, sameAxes } from './axes.js';
import { broadcastShapes, broadcastType, outputSize } from './broadcast.js';
import { broadcastContents } from './infer.js';
import { broadcastDims, broadcastTo, mapElements, zipElements } from './elements.js';
import { scalarLike, unbroadcast } from './gradient-parts.js';
import type { OpDefinition, OpSample } from './definition.js';
import { defineOp } from './definition.js';
import type { Random } from './random.js';

/** Small integers, so that equality happens. */
const steps = (random: Random, dims: readonly number[]): Tensor =>
  mapElements(random.tensor(dims), (x) => Math.round(x));

const truths = (random: Random, dims: readonly number[]): Tensor =>
  mapElements(random.tensor(dims), (x) => (x > 0 ? 1 : 0), 'bool');

const comparison = (
  type: string,
  f: (x: number, y: number) => boolean,
  make: (random: Random, dims: readonly number[]) => Tensor = steps,
  more: readonly OpSample[] = [],
): OpDefinition =>
  defineOp({
    type,
    infer: (ctx) => [broadcastType(ctx, 'bool')],
    evaluate: (ctx) => [
      zipElements(ctx.input(0), ctx.input(1), (x, y) => (f(x, y) ? 1 : 0), 'bool'),
    ],
    nonDifferentiable: true,
    flops: outputSize,
    samples: (random): OpSample[] => [
      { label: 'equal shapes', inputs: [make(random, [3, 5]), make(random, [3, 5])] },
      { label: 'broadcast', inputs: [make(random, [2, 1, 4]), make(random, [3, 1])] },
      ...more,
    ],
  });

/** Whether two extents are equal: 1, 0, or undefined where it depends. No extent is negative. */
function equalDims(a: Dim, b: Dim): number | undefined {
  if (a === b) return 1;
  if (typeof a === 'number' && typeof b === 'number') return 0;
  return (typeof a === 'number' && a < 0) || (typeof b === 'number' && b < 0) ? 0 : undefined;
}

/** Exporters compare shapes with −1 to find the extents an Expand shall keep. */
const equal: OpDefinition = {
  ...comparison('Equal', (x, y) => x === y, steps, [
    {
      label: 'integers that are known',
      inputs: [Tensor.of('int64', [2, 1], [4, 5]), Tensor.ints([5, 7, 4])],
      constants: [0, 1],
    },
  ]),
  propagate: (ctx) => {
    const [a, b] = broadcastContents(ctx, [0, 1]) ?? [];
    if (!a || !b) return undefined;
    const results = a.map((x, i) => equalDims(x, b[i] ?? 0));
    return results.every((r) => r !== undefined) ? results : undefined;
  },
};

const not = defineOp({
  type: 'Not',
  infer: (ctx) => [ctx.type(0)],
  evaluate: (ctx) => [mapElements(ctx.input(0), (x) => (x === 0 ? 1 : 0))],
  nonDifferentiable: true,
  keepsShape: true,
  samples: (random) => [{ label: 'plain', inputs: [truths(random, [3, 4])] }],
});

/** Numbers of every kind. */
const kinds = Tensor.of('float32', [2, 3], [0, -1.5, NaN, Infinity, -Infinity, 2]);

const isNan = defineOp({
  type: 'IsNaN',
  axes: (ctx) => sameAxes(ctx),
  infer: (ctx) => [{ dtype: 'bool', shape: ctx.type(0).shape }],
  evaluate: (ctx) => [mapElements(ctx.input(0), (x) => (Number.isNaN(x) ? 1 : 0), 'bool')],
  nonDifferentiable: true,
  samples: () => [{ label: 'every kind', inputs: [kinds] }],
});

const isInf = defineOp({
  type: 'IsInf',
  axes: (ctx) => sameAxes(ctx),
  infer: (ctx) => [{ dtype: 'bool', shape: ctx.type(0).shape }],
  evaluate: (ctx) => {
    const above = ctx.attributes.int('detect_positive', 1) === 1;
    const below = ctx.attributes.int('detect_negative', 1) === 1;
    const found = (x: number): boolean => (above && x === Infinity) || (below && x === -Infinity);
    return [mapElements(ctx.input(0), (x) => (found(x) ? 1 : 0), 'bool')];
  },
  nonDifferentiable: true,
  samples: () => [
    { label: 'both signs', inputs: [kinds] },
    {
      label: 'negative only',
      inputs: [kinds],
      attributes: new Attributes({ detect_positive: int(0) }),
    },
  ],
});

const where = defineOp({
  type: 'Where',
  axes: broadcastAxes,
  infer: (ctx) => {
    const types = [ctx.type(0), ctx.type(1), ctx.type(2)];
    const { dtype } = ctx.type(1);
    if (ctx.type(2).dtype !== dtype) ctx.fail(`operands are ${dtype} and ${ctx.type(2).dtype}`);
    const known = types.every((t) => t.shape);
    return [
      {
        dtype,
        shape: known ? broadcastShapes(ctx, [ctx.shape(0), ctx.shape(1), ctx.shape(2)]) : undefined,
      },
    ];
  },
  propagate: (ctx) => {
    const [mask, x, y] = broadcastContents(ctx, [0, 1, 2]) ?? [];
    if (!mask?.every((m) => typeof m === 'number')) return undefined;
    return mask.map((m, i) => (m === 0 ? y?.[i] : x?.[i]) as Dim);
  },
  evaluate: (ctx) => {
    const dims = broadcastDims([0, 1, 2].map((i) => ctx.input(i).dims));
    const [mask, x, y] = [0, 1, 2].map((i) => broadcastTo(ctx.input(i), dims).data);
    const out = Tensor.zeros(ctx.input(1).dtype, dims);
    for (let i = 0; i < out.size; i++) out.data[i] = (mask?.[i] === 0 ? y?.[i] : x?.[i]) as number;
    return [out];
  },
  gradient: (ctx) => {
    const { b } = ctx;
    const zero = (): Value => scalarLike(b, ctx.grad(), 0);
    const mask = ctx.input(0);
    return [
      undefined,
      ctx.wants(1)
        ? unbroadcast(b, b.op('Where', [mask, ctx.grad(), zero()]), ctx.input(1).shape)
        : undefined,
      ctx.wants(2)
        ? unbroadcast(b, b.op('Where', [mask, zero(), ctx.grad()]), ctx.input(2).shape)
        : undefined,
    ];
  },
  flops: outputSize,
  /** The mask cannot take a float token; one of the choices can. */
  guard: (node, token, b) => node.setInput(1, b.op('Add', [node.input(1), token])),
  samples: (random) => [
    {
      label: 'equal shapes',
      inputs: [truths(random, [2, 3]), random.tensor([2, 3]), random.tensor([2, 3])],
      differentiable: [1, 2],
    },
    {
      label: 'integers that are known',
      inputs: [
        Tensor.of('bool', [2, 1], [1, 0]),
        Tensor.ints([4, 5]),
        Tensor.of('int64', [2, 1], [7, 8]),
      ],
      constants: [0, 1, 2],
      differentiable: [],
    },
    {
      label: 'broadcast three ways',
      inputs: [truths(random, [2, 1, 4]), random.tensor([3, 1]), random.tensor([])],
      differentiable: [1, 2],
    },
  ],
});

export const compareOps: readonly OpDefinition[] = [
  comparison('Greater', (x, y) => x > y),
  comparison('GreaterOrEqual', (x, y) => x >= y),
  comparison('Less', (x, y) => x < y),
  comparison('LessOrEqual', (x, y) => x <= y),
  equal,
  comparison('And', (x, y) => x !== 0 && y !== 0, truths),
  comparison('Or', (x, y) => x !== 0 || y !== 0, truths),
  comparison('Xor', (x, y) => (x !== 0) !== (y !== 0), truths),
  not,
  isNan,
  isInf,
  where,
];
