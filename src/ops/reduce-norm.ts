// Reductions that are norms and logarithms of sums: ReduceL1, ReduceL2, ReduceLogSum, ReduceLogSumExp. In: one tensor.
// Out: the tensor with the reduced axes gone or 1. Invariant: the gradient is built from the result, so no exponential
// is taken that the forward pass did not take.

import type { OpDefinition } from './definition.js';
import { expandLike, scalarLike } from './gradient-parts.js';
import { reduction, total } from './reduce.js';

const l1 = reduction({
  type: 'ReduceL1',
  axesOperand: false,
  f: (row) => total(row.map(Math.abs)),
  gradient: (ctx, kept) => ctx.b.op('Mul', [ctx.b.op('Sign', [ctx.input(0)]), kept(ctx.grad())]),
});

const l2 = reduction({
  type: 'ReduceL2',
  axesOperand: false,
  f: (row) => Math.hypot(...row),
  // A norm of 0 has the gradient 0, as in PyTorch.
  gradient: (ctx, kept) => {
    const { b } = ctx;
    const y = kept(ctx.output());
    const isZero = b.op('Equal', [y, scalarLike(b, y, 0)]);
    const divisor = b.op('Where', [isZero, scalarLike(b, y, 1), y]);
    return b.op('Mul', [ctx.input(0), b.op('Div', [kept(ctx.grad()), divisor])]);
  },
});

const logSum = reduction({
  type: 'ReduceLogSum',
  axesOperand: false,
  f: (row) => Math.log(total(row)),
  positive: true,
  gradient: (ctx, kept) => {
    const { b } = ctx;
    const share = b.op('Div', [kept(ctx.grad()), b.op('Exp', [kept(ctx.output())])]);
    return expandLike(b, share, ctx.input(0));
  },
});

const logSumExp = reduction({
  type: 'ReduceLogSumExp',
  axesOperand: false,
  f: (row) => {
    const most = row.reduce((a, x) => Math.max(a, x), -Infinity);
    return most + Math.log(total(row.map((x) => Math.exp(x - most))));
  },
  // The softmax: each exponential relative to their sum.
  gradient: (ctx, kept) => {
    const { b } = ctx;
    const share = b.op('Exp', [b.op('Sub', [ctx.input(0), kept(ctx.output())])]);
    return b.op('Mul', [share, kept(ctx.grad())]);
  },
});

export const reduceNormOps: readonly OpDefinition[] = [l1, l2, logSum, logSumExp];
