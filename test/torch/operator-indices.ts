// The part of the table with operators that pick or place by index. Indices repeat where the operator adds up, differ
// where it replaces (what a repeated one leaves is not defined), and half of them count from the end.

import fc from 'fast-check';
import { Tensor, elementCount } from '../../src/ir/index.js';
import type { Random } from '../../src/ops/index.js';
import { cases, line, shape, shapeAndAxis } from './operator-cases.js';
import type { Line, TorchCase } from './operator-cases.js';

const place = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

/** The index, or the same counted from the end. */
const eitherEnd = (random: Random, index: number, extent: number): number =>
  random.uniform() < 0.5 ? index - extent : index;

const anyIndex = (random: Random, extent: number): number => random.integer(-extent, extent - 1);

function shuffled(random: Random, count: number): number[] {
  const list = Array.from({ length: count }, (_, i) => i);
  for (let i = count - 1; i > 0; i--) {
    const j = random.integer(0, i);
    [list[i], list[j]] = [list[j] as number, list[i] as number];
  }
  return list;
}

const indexTensor = (dims: readonly number[], make: (i: number) => number): Tensor =>
  Tensor.of(
    'int64',
    dims,
    Array.from({ length: elementCount(dims) }, (_, i) => make(i)),
  );

/** Half the time the operand is a constant of the graph, which has rules of its own. */
const sometimesConstant = (random: Random, index = 1): number[] =>
  random.uniform() < 0.5 ? [index] : [];

// ---- Gather

const gathers = cases(fc.tuple(shapeAndAxis(), shape(0, 2)), ([given, at], draw, random) => {
  const extent = given.dims[place(given.axis, given.dims.length)] ?? 1;
  return {
    inputs: [draw(given.dims), indexTensor(at, () => anyIndex(random, extent))],
    attributes: { axis: given.axis },
    constants: sometimesConstant(random),
    differentiable: [0],
  };
});

/** Far more tokens than rows. */
const tables = cases(
  fc.tuple(fc.integer({ min: 1, max: 4 }), fc.integer({ min: 1, max: 5 }), shape(1, 2)),
  ([rows, width, at], draw, random) => ({
    inputs: [draw([rows, width]), indexTensor([...at, 6], () => random.integer(0, rows - 1))],
    attributes: { axis: 0 },
    differentiable: [0],
  }),
);

// ---- GatherElements, ScatterElements

interface Along {
  readonly dims: readonly number[];
  readonly axis: number;
  /** Shape of the indices: no axis is longer than that of the operand but the picked one. */
  readonly at: readonly number[];
}

const along = (repeats: boolean): fc.Arbitrary<Along> =>
  shapeAndAxis().chain(({ dims, axis }) =>
    fc.record({
      dims: fc.constant(dims),
      axis: fc.constant(axis),
      at: fc.tuple(
        ...dims.map((d, i) =>
          fc.integer({ min: 1, max: repeats && i === place(axis, dims.length) ? d + 2 : d }),
        ),
      ),
    }),
  );

/** Indices along an axis that no two of a line share. */
function distinctAlong({ dims, axis, at }: Along, random: Random): Tensor {
  const own = place(axis, dims.length);
  const extent = dims[own] ?? 1;
  const inner = elementCount(at.slice(own + 1));
  const lines = new Map<number, number[]>();
  return indexTensor(at, (flat) => {
    const position = Math.floor(flat / inner) % (at[own] ?? 1);
    const key = flat - position * inner;
    const order = lines.get(key) ?? shuffled(random, extent);
    lines.set(key, order);
    return eitherEnd(random, order[position] ?? 0, extent);
  });
}

const repeatedAlong = ({ dims, axis, at }: Along, random: Random): Tensor => {
  const extent = dims[place(axis, dims.length)] ?? 1;
  return indexTensor(at, () => anyIndex(random, extent));
};

const elementsScattered = (reduction: 'none' | 'add'): fc.Arbitrary<TorchCase> =>
  cases(along(reduction === 'add'), (given, draw, random) => ({
    inputs: [
      draw(given.dims),
      reduction === 'add' ? repeatedAlong(given, random) : distinctAlong(given, random),
      draw(given.at),
    ],
    attributes: { axis: given.axis, reduction },
    constants: sometimesConstant(random),
    differentiable: [0, 2],
  }));

// ---- GatherND, ScatterND

interface Coordinates {
  readonly dims: readonly number[];
  readonly batch: number;
  readonly depth: number;
  /** Shape of the indices between the batch axes and the coordinates. */
  readonly at: readonly number[];
}

const coordinates = (mostBatch: number): fc.Arbitrary<Coordinates> =>
  fc.tuple(shape(1, 4), shape(0, 2)).chain(([dims, at]) =>
    fc.integer({ min: 0, max: Math.min(mostBatch, dims.length - 1) }).chain((batch) =>
      fc.record({
        dims: fc.constant(dims),
        batch: fc.constant(batch),
        depth: fc.integer({ min: 1, max: dims.length - batch }),
        at: fc.constant(at),
      }),
    ),
  );

const slicesGathered = cases(coordinates(2), ({ dims, batch, depth, at }, draw, random) => ({
  inputs: [
    draw(dims),
    indexTensor([...dims.slice(0, batch), ...at, depth], (i) =>
      anyIndex(random, dims[batch + (i % depth)] ?? 1),
    ),
  ],
  attributes: { batch_dims: batch },
  constants: sometimesConstant(random),
  differentiable: [0],
}));

const slicesScattered = (reduction: 'none' | 'add'): fc.Arbitrary<TorchCase> =>
  cases(coordinates(0), ({ dims, depth, at }, draw, random) => {
    const extents = dims.slice(0, depth);
    const places = shuffled(random, elementCount(extents));
    // Replacing needs as many places as there are updates.
    const rows = reduction === 'add' ? at : at.slice(0, 1).map((d) => Math.min(d, places.length));
    const index = indexTensor([...rows, depth], (i) => {
      const extent = extents[i % depth] ?? 1;
      if (reduction === 'add') return anyIndex(random, extent);
      const inner = elementCount(extents.slice((i % depth) + 1));
      const at = Math.floor((places[Math.floor(i / depth)] ?? 0) / inner) % extent;
      return eitherEnd(random, at, extent);
    });
    return {
      inputs: [draw(dims), index, draw([...rows, ...dims.slice(depth)])],
      attributes: { reduction },
      constants: sometimesConstant(random),
      differentiable: [0, 2],
    };
  });

// ---- Trilu

const triangles = cases(
  fc.tuple(shape(2, 4), fc.integer({ min: -5, max: 5 }), fc.integer({ min: 0, max: 1 })),
  ([dims, k, upper], draw, random) => ({
    inputs: [draw(dims), Tensor.scalar(k, 'int64')],
    constants: sometimesConstant(random),
    attributes: { upper },
  }),
);

export const indexLines: readonly Line[] = [
  line('Gather', 'gather(x[0], x[1], a["axis"])', gathers),
  line('Gather', 'F.embedding(x[1], x[0])', tables),
  line(
    'GatherElements',
    'x[0].gather(a["axis"], x[1] % x[0].shape[a["axis"]])',
    cases(along(true), (given, draw, random) => ({
      inputs: [draw(given.dims), repeatedAlong(given, random)],
      attributes: { axis: given.axis },
      constants: sometimesConstant(random),
      differentiable: [0],
    })),
  ),
  line('GatherND', 'gather_nd(x[0], x[1], a["batch_dims"])', slicesGathered),
  line(
    'ScatterElements',
    'x[0].scatter(a["axis"], x[1] % x[0].shape[a["axis"]], x[2])',
    elementsScattered('none'),
  ),
  line(
    'ScatterElements',
    'x[0].scatter_add(a["axis"], x[1] % x[0].shape[a["axis"]], x[2])',
    elementsScattered('add'),
  ),
  ...(['none', 'add'] as const).map((reduction) =>
    line(
      'ScatterND',
      'x[0].index_put(x[1].unbind(-1), x[2], a["reduction"] == "add")',
      slicesScattered(reduction),
    ),
  ),
  line('Trilu', 'x[0].triu(x[1].item()) if a["upper"] else x[0].tril(x[1].item())', triangles),
];
