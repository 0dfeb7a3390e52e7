// The part of the table with operators that sum, or take the largest, along axes. Rows of zeros are among the cases: norms
// have no derivative there, and both sides must say 0.

import fc from 'fast-check';
import { Tensor } from '../../src/ir/index.js';
import { cases, line, positive, shapeAndAxes, shapeAndAxis } from './operator-cases.js';
import type { Draw, Line, TorchCase } from './operator-cases.js';

/** Over axes, some of them counted from the end. */
const reduced = (
  make: (draw: Draw, dims: readonly number[]) => Tensor = (draw, dims) => draw(dims),
): fc.Arbitrary<TorchCase> =>
  cases(fc.tuple(shapeAndAxes, fc.boolean()), ([{ dims, axes, keepdims }, fromEnd], draw) => ({
    inputs: [make(draw, dims)],
    attributes: { axes: fromEnd ? axes.map((axis) => axis - dims.length) : axes, keepdims },
  }));

/** Some elements, or all, are 0. */
const withZeros = fc.oneof(
  reduced((draw, dims) => {
    const x = draw(dims);
    return new Tensor(
      x.dtype,
      dims,
      x.data.map((v) => (Math.abs(v) < 0.4 ? 0 : v)),
    );
  }),
  reduced((draw, dims) => draw(dims, 0)),
);

const KEPT = 'a["keepdims"] == 1';

export const reductionLines: readonly Line[] = [
  line(
    'ReduceSum',
    `x[0].sum(x[1].tolist(), ${KEPT})`,
    cases(shapeAndAxes, ({ dims, axes, keepdims }, draw) => ({
      inputs: [draw(dims), Tensor.ints(axes)],
      constants: [1],
      attributes: { keepdims },
    })),
  ),
  line('ReduceSumSquare', `(x[0] ** 2).sum(a["axes"], ${KEPT})`, reduced()),
  line('ReduceMean', `x[0].mean(a["axes"], ${KEPT})`, reduced()),
  line('ReduceMax', `x[0].amax(a["axes"], ${KEPT})`, reduced()),
  line('ReduceMin', `x[0].amin(a["axes"], ${KEPT})`, reduced()),
  line(
    'ReduceL1',
    `torch.linalg.vector_norm(x[0], 1, a["axes"], ${KEPT})`,
    fc.oneof(reduced(), withZeros),
  ),
  line(
    'ReduceL2',
    `torch.linalg.vector_norm(x[0], 2, a["axes"], ${KEPT})`,
    fc.oneof(reduced(), withZeros),
  ),
  line(
    'ReduceLogSum',
    `x[0].sum(a["axes"], ${KEPT}).log()`,
    reduced((draw, dims) => positive(draw(dims))),
  ),
  line(
    'ReduceLogSumExp',
    `torch.logsumexp(x[0], a["axes"], ${KEPT})`,
    fc.oneof(
      reduced((draw, dims) => draw(dims, 3)),
      // Exponentials that leave float64 unless the largest is taken out.
      reduced((draw, dims) => draw(dims, 200, 800)),
    ),
  ),
  line(
    'CumSum',
    'running_sum(x[0], x[1].item(), a)',
    cases(
      fc.tuple(shapeAndAxis(), fc.integer({ min: 0, max: 1 }), fc.integer({ min: 0, max: 1 })),
      ([{ dims, axis }, exclusive, reverse], draw, random) => ({
        inputs: [draw(dims), Tensor.scalar(axis, 'int64')],
        constants: random.uniform() < 0.5 ? [1] : [],
        attributes: { exclusive, reverse },
      }),
    ),
  ),
];
