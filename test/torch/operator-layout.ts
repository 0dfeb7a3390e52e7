// The part of the table with operators that move, repeat, choose or join elements.

import fc from 'fast-check';
import { Tensor } from '../../src/ir/index.js';
import { elementCode } from '../../src/ops/index.js';
import { cases, line, one, shape, shapeAndAxes, shapeAndAxis } from './operator-cases.js';
import type { Line } from './operator-cases.js';

/** An operand and constant integers. */
const constants = (...lists: readonly (readonly number[])[]): Tensor[] =>
  lists.map((values) => Tensor.ints([...values]));

const permuted = shape(1, 4).chain((dims) =>
  fc.record({
    dims: fc.constant(dims),
    perm: fc.shuffledSubarray(
      dims.map((_, i) => i),
      { minLength: dims.length },
    ),
  }),
);

const place = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

/** [N,C,H,W] and a size of blocks. */
const images = fc.record({
  dims: shape(4, 4),
  block: fc.integer({ min: 1, max: 3 }),
});

export const layoutLines: readonly Line[] = [
  line('Identity', 'x[0]', one()),
  line(
    'Cast',
    'x[0]',
    cases(shape(), (dims, draw) => ({
      inputs: [draw(dims)],
      attributes: { to: elementCode('float64') },
    })),
  ),
  line(
    'Reshape',
    'x[0].reshape(x[1].tolist())',
    cases(permuted, ({ dims, perm }, draw) => ({
      inputs: [draw(dims), ...constants(perm.map((p) => dims[p] ?? 1))],
      constants: [1],
    })),
  ),
  line(
    'Flatten',
    'x[0].reshape(x[0].shape[: a["axis"]].numel(), -1)',
    cases(shapeAndAxis(), ({ dims, axis }, draw) => ({
      inputs: [draw(dims)],
      attributes: { axis: place(axis, dims.length) },
    })),
  ),
  line(
    'Transpose',
    'x[0].permute(a["perm"])',
    cases(permuted, ({ dims, perm }, draw) => ({ inputs: [draw(dims)], attributes: { perm } })),
  ),
  line(
    'Squeeze',
    'x[0].reshape([d for i, d in enumerate(x[0].shape) if i not in x[1].tolist()])',
    cases(shapeAndAxes, ({ dims, axes }, draw) => ({
      inputs: [draw(dims.map((d, i) => (axes.includes(i) ? 1 : d))), ...constants(axes)],
      constants: [1],
    })),
  ),
  line(
    'Unsqueeze',
    'x[0].unsqueeze(x[1].tolist()[0])',
    cases(shapeAndAxis(), ({ dims, axis }, draw) => ({
      inputs: [draw(dims), ...constants([axis])],
      constants: [1],
    })),
  ),
  line(
    'Expand',
    'x[0].expand(x[1].tolist())',
    cases(shapeAndAxes, ({ dims, axes }, draw) => ({
      inputs: [draw(dims.map((d, i) => (axes.includes(i) ? 1 : d))), ...constants([2, ...dims])],
      constants: [1],
    })),
  ),
  line(
    'Tile',
    'x[0].repeat(x[1].tolist())',
    cases(shapeAndAxes, ({ dims, axes }, draw) => ({
      inputs: [draw(dims), ...constants(dims.map((_, i) => (axes.includes(i) ? 2 : 1)))],
      constants: [1],
    })),
  ),
  line(
    'Concat',
    'torch.cat(x, a["axis"])',
    cases(shapeAndAxis(), ({ dims, axis }, draw, random) => ({
      inputs: [1, 2, 3].map(() =>
        draw(dims.map((d, i) => (i === place(axis, dims.length) ? random.integer(1, 3) : d))),
      ),
      attributes: { axis },
    })),
  ),
  line(
    'Split',
    'torch.split(x[0], x[1].tolist(), a["axis"])',
    cases(shapeAndAxis(), ({ dims, axis }, draw, random) => {
      const parts = [1, 2, 3].map(() => random.integer(1, 3));
      const total = parts.reduce((n, d) => n + d, 0);
      return {
        inputs: [
          draw(dims.map((d, i) => (i === place(axis, dims.length) ? total : d))),
          ...constants(parts),
        ],
        constants: [1],
        attributes: { axis },
        outputs: 3,
      };
    }),
  ),
  line(
    'DepthToSpace',
    'depth_to_space(x[0], a["blocksize"], a["mode"])',
    cases(fc.tuple(images, fc.constantFrom('DCR', 'CRD')), ([{ dims, block }, mode], draw) => ({
      inputs: [draw(dims.map((d, i) => (i === 1 ? d * block * block : d)))],
      attributes: { blocksize: block, mode },
    })),
  ),
  line(
    'SpaceToDepth',
    'space_to_depth(x[0], a["blocksize"])',
    cases(images, ({ dims, block }, draw) => ({
      inputs: [draw(dims.map((d, i) => (i > 1 ? d * block : d)))],
      attributes: { blocksize: block },
    })),
  ),
  line(
    'Slice',
    'sliced(x[0], x[1], x[2], x[3], x[4])',
    cases(shapeAndAxes, ({ dims, axes }, draw, random) => {
      // Forwards from start to end, or backwards; each bound counted from either end. Before the first element is -d - 1.
      const list = axes.map((axis) => {
        const extent = dims[axis] ?? 1;
        const step = random.integer(1, 3) * (random.uniform() < 0.5 ? -1 : 1);
        const from = random.integer(0, extent - 1);
        const to = step > 0 ? random.integer(from + 1, extent + 2) : random.integer(-1, from - 1);
        const fromEnd = (at: number): number => (random.uniform() < 0.5 ? at - extent : at);
        const end = to < 0 || to < extent ? (to < 0 ? to - extent : fromEnd(to)) : to;
        return { start: fromEnd(from), end, step };
      });
      const starts = list.map(({ start }) => start);
      const ends = list.map(({ end }) => end);
      const steps = list.map(({ step }) => step);
      return {
        inputs: [draw(dims), ...constants(starts, ends, axes, steps)],
        constants: [1, 2, 3, 4],
      };
    }),
  ),
  line(
    'Pad',
    'padded(x[0], x[1].tolist())',
    cases(shape(), (dims, draw, random) => ({
      inputs: [draw(dims), ...constants([...dims, ...dims].map(() => random.integer(0, 2)))],
      constants: [1],
    })),
  ),
];
