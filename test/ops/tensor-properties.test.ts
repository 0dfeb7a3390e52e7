// Properties of broadcasting, Slice, Pad and Reshape over random shapes and bounds, with ONNX Runtime as the
// oracle: one session holds a whole batch of random nodes, so that hundreds of cases cost milliseconds.
//
// Elements are small integers and only moved or added, so results must be equal exactly.

import fc from 'fast-check';
import { test } from 'vitest';
import { Attributes, Tensor, int, string } from '../../src/ir/index.js';
import { agree } from './agree.js';
import type { Sample } from './agree.js';

const RUNS = 400;

/** A tensor of given dims with distinct elements, so that a misplaced one shows. */
const counting = (dims: readonly number[]): Tensor => {
  const out = Tensor.zeros('float32', dims);
  for (let i = 0; i < out.size; i++) out.data[i] = i + 1;
  return out;
};

/** Random samples of one kind, the same in every run. */
const samples = (arbitrary: fc.Arbitrary<Sample>): Sample[] =>
  fc.sample(arbitrary, { numRuns: RUNS, seed: 20 });

const dims = (rank: { min?: number; max: number }, extent = 4): fc.Arbitrary<number[]> =>
  fc.array(fc.integer({ min: 1, max: extent }), {
    minLength: rank.min ?? 0,
    maxLength: rank.max,
  });

/** An operand shape that broadcasts into `full`: axes made 1, leading axes dropped. */
const narrowed = (full: readonly number[]): fc.Arbitrary<number[]> =>
  fc
    .tuple(
      fc.array(fc.boolean(), { minLength: full.length, maxLength: full.length }),
      fc.integer({ min: 0, max: full.length }),
    )
    .map(([ones, drop]) => full.map((d, i) => (ones[i] ? 1 : d)).slice(drop));

test('broadcasting of two operands', async () => {
  await agree(
    samples(
      dims({ max: 4 })
        .chain((full) =>
          fc.tuple(narrowed(full), narrowed(full), fc.constantFrom('Add', 'Mul', 'Sub', 'Max')),
        )
        .map(([a, b, type]) => ({ type, inputs: [counting(a), counting(b)] })),
    ),
  );
});

test('Where broadcasts three ways', async () => {
  const mask = (shape: readonly number[]): Tensor => {
    const t = counting(shape);
    return Tensor.of(
      'bool',
      shape,
      t.toArray().map((x) => x % 2),
    );
  };
  await agree(
    samples(
      dims({ max: 4 })
        .chain((full) => fc.tuple(narrowed(full), narrowed(full), narrowed(full)))
        .map(([c, a, b]) => ({ type: 'Where', inputs: [mask(c), counting(a), counting(b)] })),
    ),
  );
});

test('Expand', async () => {
  await agree(
    samples(
      dims({ max: 4 })
        .chain((full) => fc.tuple(narrowed(full), narrowed(full)))
        .map(([a, b]) => ({ type: 'Expand', inputs: [counting(a), Tensor.ints(b)] })),
    ),
  );
});

test('Slice with any bounds and steps', async () => {
  const bound = fc.oneof(
    fc.integer({ min: -9, max: 9 }),
    fc.constantFrom(2 ** 63, -(2 ** 63), 2 ** 31 - 1),
  );
  const step = fc.constantFrom(1, 1, 2, 3, 7, -1, -2, -3);
  await agree(
    samples(
      dims({ min: 1, max: 3 }, 6)
        .chain((shape) =>
          fc.tuple(
            fc.constant(shape),
            fc.shuffledSubarray(
              shape.map((_, i) => i),
              { minLength: 1 },
            ),
            fc.array(fc.tuple(bound, bound, step, fc.boolean()), { minLength: 3, maxLength: 3 }),
          ),
        )
        .map(([shape, axes, all]) => {
          const list = axes.map((axis, i) => {
            const [start, end, by, negative] = all[i] ?? [0, 0, 1, false];
            return { start, end, by, axis: negative ? axis - shape.length : axis };
          });
          return {
            type: 'Slice',
            inputs: [
              counting(shape),
              Tensor.ints(list.map((l) => l.start)),
              Tensor.ints(list.map((l) => l.end)),
              Tensor.ints(list.map((l) => l.axis)),
              Tensor.ints(list.map((l) => l.by)),
            ],
          };
        }),
    ),
  );
});

test('Pad in every mode', async () => {
  await agree(
    samples(
      dims({ min: 1, max: 3 })
        .chain((shape) =>
          fc.tuple(
            fc.constant(shape),
            fc.constantFrom('constant', 'edge', 'reflect'),
            fc.array(fc.integer({ min: -1, max: 3 }), { minLength: 6, maxLength: 6 }),
          ),
        )
        .map(([shape, mode, amounts]) => {
          // Reflection reaches at most to the other side; only the constant mode crops.
          const pads = [...shape, ...shape].map((d, i) => {
            const wanted = amounts[i] ?? 0;
            if (mode === 'constant') return Math.max(wanted, d === 1 ? 0 : -1);
            return Math.min(Math.max(wanted, 0), mode === 'reflect' ? d - 1 : 3);
          });
          return {
            type: 'Pad',
            inputs: [counting(shape), Tensor.ints(pads)],
            attributes: new Attributes({ mode: string(mode) }),
          };
        })
        // A window that crops an axis of 2 from both sides would be empty.
        .filter(({ inputs: [x, pads] }) =>
          (x?.dims ?? []).every((d, i) => {
            const list = pads?.toArray() ?? [];
            return d + (list[i] ?? 0) + (list[i + (x?.dims.length ?? 0)] ?? 0) > 0;
          }),
        ),
    ),
  );
});

test('Reshape with 0 and −1', async () => {
  await agree(
    samples(
      dims({ min: 1, max: 4 })
        .chain((shape) =>
          fc.tuple(
            fc.constant(shape),
            fc.integer({ min: 0, max: shape.length }),
            fc.array(fc.boolean(), { minLength: 4, maxLength: 4 }),
            fc.integer({ min: 0, max: 4 }),
          ),
        )
        .map(([shape, cut, zeros, open]) => {
          // Axes up to the cut stay (some as 0), the others become one, and one axis may be open.
          const rest = shape.slice(cut).reduce((a, b) => a * b, 1);
          const target = [...shape.slice(0, cut).map((d, i) => (zeros[i] ? 0 : d)), rest];
          if (open < target.length) target[open] = -1;
          return { type: 'Reshape', inputs: [counting(shape), Tensor.ints(target)] };
        }),
    ),
  );
});

test('Concat and Gather along any axis', async () => {
  await agree(
    samples(
      dims({ min: 1, max: 3 })
        .chain((shape) =>
          fc.tuple(
            fc.constant(shape),
            fc.integer({ min: -shape.length, max: shape.length - 1 }),
            fc.array(fc.integer({ min: 0, max: 30 }), { minLength: 1, maxLength: 4 }),
            fc.boolean(),
          ),
        )
        .map(([shape, axis, picks, joins]): Sample => {
          const attributes = new Attributes({ axis: int(axis) });
          const at = axis < 0 ? axis + shape.length : axis;
          if (joins) {
            const inputs = picks.map((p) =>
              counting(shape.map((d, i) => (i === at ? 1 + (p % 3) : d))),
            );
            return { type: 'Concat', inputs, attributes };
          }
          const extent = shape[at] ?? 1;
          const indices = picks.map((p) => (p % (2 * extent)) - extent);
          return { type: 'Gather', inputs: [counting(shape), Tensor.ints(indices)], attributes };
        }),
    ),
  );
});
