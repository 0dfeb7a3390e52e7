// Elementwise functions of one operand: Neg … Round. In: a tensor. Out: a tensor of the same type. Invariant:
// the reference is exact to float64, Erf included, so that finite differences can check the gradients.

import { Attributes, Tensor, float } from '../ir/index.js';
import type { Value } from '../ir/index.js';
import { outputSize } from './broadcast.js';
import { mapElements } from './elements.js';
import { scalarLike } from './gradient-parts.js';
import { defineOp } from './definition.js';
import type { GradientContext, OpDefinition } from './definition.js';
import type { Random } from './random.js';

interface Unary {
  readonly type: string;
  readonly f: (x: number) => number;
  /** Absent: no gradient flows (steps). */
  readonly gradient?: (ctx: GradientContext, x: Value, y: () => Value, g: Value) => Value;
  /** Operations per element. */
  readonly cost?: number;
  /** Makes sample operands; default: normal numbers. */
  readonly sample?: (random: Random, dims: readonly number[]) => Tensor;
  readonly propagate?: OpDefinition['propagate'];
}

const unary = (op: Unary): OpDefinition => {
  const { gradient } = op;
  return defineOp({
    type: op.type,
    infer: (ctx) => [ctx.type(0)],
    ...(op.propagate ? { propagate: op.propagate } : {}),
    evaluate: (ctx) => [mapElements(ctx.input(0), op.f)],
    ...(gradient
      ? {
          gradient: (ctx: GradientContext) => [
            ctx.wants(0) ? gradient(ctx, ctx.input(0), () => ctx.output(), ctx.grad()) : undefined,
          ],
        }
      : { nonDifferentiable: true }),
    flops: (ctx) => (op.cost ?? 1) * outputSize(ctx),
    keepsShape: true,
    samples: (random) => {
      const make = op.sample ?? ((r: Random, dims: readonly number[]) => r.tensor(dims));
      return [
        { label: 'rank 3', inputs: [make(random, [2, 3, 4])] },
        { label: 'scalar', inputs: [make(random, [])] },
      ];
    },
  });
};

/** Positive numbers well away from 0. */
const positive = (random: Random, dims: readonly number[]): Tensor =>
  mapElements(random.tensor(dims), (x) => Math.fround(0.5 + Math.abs(x)));

/** Numbers away from 0, where Abs and Reciprocal are not smooth. */
const nonzero = (random: Random, dims: readonly number[]): Tensor =>
  mapElements(random.tensor(dims), (x) => Math.fround(x + Math.sign(x) * 0.3));

const TWO_OVER_ROOT_PI = 2 / Math.sqrt(Math.PI);

/** The error function to float64 accuracy: its Taylor series, and a continued fraction far out. */
export function erf(x: number): number {
  const a = Math.abs(x);
  if (a > 6) return Math.sign(x);
  if (a < 2.5) {
    let term = x;
    let total = x;
    for (let n = 1; Math.abs(term) > 1e-17 * Math.abs(total); n++) {
      term *= (-x * x) / n;
      total += term / (2 * n + 1);
    }
    return TWO_OVER_ROOT_PI * total;
  }
  // erfc(a) = exp(−a²)/√π · 1/(a + (1/2)/(a + 1/(a + (3/2)/(a + …))))
  let tail = a;
  for (let n = 60; n >= 1; n--) tail = a + n / 2 / tail;
  return Math.sign(x) * (1 - Math.exp(-a * a) / (Math.sqrt(Math.PI) * tail));
}

const neg = unary({
  type: 'Neg',
  f: (x) => -x,
  gradient: ({ b }, _x, _y, g) => b.op('Neg', [g]),
});

const abs = unary({
  type: 'Abs',
  f: Math.abs,
  gradient: ({ b }, x, _y, g) => b.op('Mul', [g, b.op('Sign', [x])]),
  sample: nonzero,
});

const exp = unary({
  type: 'Exp',
  f: Math.exp,
  gradient: ({ b }, _x, y, g) => b.op('Mul', [g, y()]),
  cost: 8,
});

const log = unary({
  type: 'Log',
  f: Math.log,
  gradient: ({ b }, x, _y, g) => b.op('Div', [g, x]),
  cost: 8,
  sample: positive,
});

const sqrt = unary({
  type: 'Sqrt',
  f: Math.sqrt,
  gradient: ({ b }, x, y, g) => b.op('Div', [b.op('Mul', [g, scalarLike(b, x, 0.5)]), y()]),
  cost: 2,
  sample: positive,
});

const reciprocal = unary({
  type: 'Reciprocal',
  f: (x) => 1 / x,
  gradient: ({ b }, _x, y, g) => b.op('Neg', [b.op('Mul', [g, b.op('Mul', [y(), y()])])]),
  sample: nonzero,
});

const erfOp = unary({
  type: 'Erf',
  f: erf,
  gradient: ({ b }, x, _y, g) => {
    const bell = b.op('Exp', [b.op('Neg', [b.op('Mul', [x, x])])]);
    return b.op('Mul', [g, b.op('Mul', [bell, scalarLike(b, x, TWO_OVER_ROOT_PI)])]);
  },
  cost: 12,
});

const sin = unary({
  type: 'Sin',
  f: Math.sin,
  gradient: ({ b }, x, _y, g) => b.op('Mul', [g, b.op('Cos', [x])]),
  cost: 10,
});

const cos = unary({
  type: 'Cos',
  f: Math.cos,
  gradient: ({ b }, x, _y, g) => b.op('Neg', [b.op('Mul', [g, b.op('Sin', [x])])]),
  cost: 10,
});

const shrink = defineOp({
  type: 'Shrink',
  infer: (ctx) => [ctx.type(0)],
  evaluate: (ctx) => {
    const [edge, bias] = [ctx.attributes.float('lambd', 0.5), ctx.attributes.float('bias', 0)];
    const shrunk = (x: number): number => (x < -edge ? x + bias : x > edge ? x - bias : 0);
    return [mapElements(ctx.input(0), shrunk)];
  },
  gradient: (ctx) => {
    if (!ctx.wants(0)) return [undefined];
    const { b } = ctx;
    const x = ctx.input(0);
    const passes = b.op('Greater', [
      b.op('Abs', [x]),
      scalarLike(b, x, ctx.attributes.float('lambd', 0.5)),
    ]);
    return [b.op('Where', [passes, ctx.grad(), scalarLike(b, x, 0)])];
  },
  flops: outputSize,
  keepsShape: true,
  samples: (random) => [
    { label: 'hard', inputs: [random.tensor([3, 4])] },
    {
      label: 'soft',
      inputs: [random.tensor([2, 5])],
      attributes: new Attributes({ lambd: float(0.25), bias: float(0.25) }),
    },
  ],
});

const sign = unary({ type: 'Sign', f: Math.sign, sample: nonzero });
// Extents stay what they are when an exporter rounds them after a cast to float and back.
const whole: OpDefinition['propagate'] = (ctx) => ctx.content(0);
const floor = unary({ type: 'Floor', f: Math.floor, propagate: whole });
const ceil = unary({ type: 'Ceil', f: Math.ceil, propagate: whole });

/** To the nearest integer, halves to the even one. */
function roundHalfEven(x: number): number {
  const low = Math.floor(x);
  if (x - low !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}

const halves = (random: Random, dims: readonly number[]): Tensor =>
  mapElements(random.tensor(dims, 3), (x) => Math.round(2 * x) / 2);
const round = unary({ type: 'Round', f: roundHalfEven, propagate: whole, sample: halves });

export const elementwiseUnaryOps: readonly OpDefinition[] = [
  neg,
  abs,
  exp,
  log,
  sqrt,
  reciprocal,
  erfOp,
  sin,
  cos,
  sign,
  floor,
  ceil,
  round,
  shrink,
];
