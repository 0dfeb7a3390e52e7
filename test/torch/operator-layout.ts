// The part of the table with operators that move, repeat, choose or join elements.

import fc from 'fast-check';
import { Tensor, elementCount } from '../../src/ir/index.js';
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
    'Gather',
    'x[0].index_select(a["axis"], x[1].reshape(-1)).reshape(x[0].shape[: a["axis"]] + x[1].shape + x[0].shape[a["axis"] + 1 :])',
    cases(fc.tuple(shapeAndAxis(), shape(0, 2)), ([given, at], draw, random) => {
      const axis = place(given.axis, given.dims.length);
      const indices = Tensor.zeros('int64', at);
      for (let i = 0; i < indices.size; i++)
        indices.data[i] = random.integer(0, (given.dims[axis] ?? 1) - 1);
      return { inputs: [draw(given.dims), indices], attributes: { axis }, differentiable: [0] };
    }),
  ),
  line(
    'GatherElements',
    'x[0].gather(a["axis"], x[1])',
    cases(shapeAndAxis(), ({ dims, axis }, draw, random) => {
      const indices = Tensor.zeros('int64', dims);
      const extent = dims[place(axis, dims.length)] ?? 1;
      for (let i = 0; i < elementCount(dims); i++) indices.data[i] = random.integer(0, extent - 1);
      return { inputs: [draw(dims), indices], attributes: { axis }, differentiable: [0] };
    }),
  ),
  line(
    'Slice',
    'sliced(x[0], x[1], x[2], x[3], x[4])',
    cases(shapeAndAxes, ({ dims, axes }, draw, random) => {
      const starts = axes.map((axis) => random.integer(0, (dims[axis] ?? 1) - 1));
      const ends = axes.map((axis, i) => random.integer((starts[i] ?? 0) + 1, dims[axis] ?? 1));
      const steps = axes.map(() => random.integer(1, 3));
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
