// Elementwise arithmetic with broadcasting: Add … Min. In: float or integer
// operands. Out: the broadcast result. Invariant: a gradient has exactly the shape of its operand.

import { Tensor, int, isFloat } from '../ir/index.js';
import type { Dim, Value } from '../ir/index.js';
import { broadcastAxes } from './axes.js';
import { broadcastShapes, broadcastType, outputSize } from './broadcast.js';
import { mapElements, zipElements } from './elements.js';
import { guardSmallest, scalarLike, unbroadcast } from './gradient-parts.js';
import { defineOp } from './definition.js';
import type { GradientContext, InferContext, OpDefinition, OpSample } from './definition.js';
import { broadcastContents } from './infer.js';
import { elementCode } from './element-types.js';
import { divideDims, multiplyDims } from './dims.js';
import type { Random } from './random.js';

// ---- shape arithmetic

/** Applies f to the known contents of two integer operands. */
export function combineContents(
  ctx: InferContext,
  f: (a: Dim, b: Dim) => Dim | undefined,
): readonly Dim[] | undefined {
  if (isFloat(ctx.type(0).dtype)) return undefined;
  const [a, b] = broadcastContents(ctx, [0, 1]) ?? [];
  return a?.map((x, i) => f(x, b?.[i] ?? 0) ?? ctx.fresh());
}

const both =
  (f: (a: number, b: number) => number) =>
  (a: Dim, b: Dim): Dim | undefined =>
    typeof a === 'number' && typeof b === 'number' ? f(a, b) : undefined;

// ---- binary operators

/** Samples that meet every way two operands can be broadcast. */
const binarySamples =
  (shift: number) =>
  (random: Random): OpSample[] => {
    const t = (...dims: number[]): Tensor => random.tensor(dims, 0.4, shift);
    return [
      { label: 'equal shapes', inputs: [t(2, 3, 4), t(2, 3, 4)] },
      { label: 'bias along channels', inputs: [t(2, 3, 4, 2), t(3, 1, 1)] },
      { label: 'both repeated', inputs: [t(2, 1, 4), t(3, 1)] },
      { label: 'scalar second', inputs: [t(2, 3), t()] },
      { label: 'scalar first', inputs: [t(), t(2, 3)] },
      { label: 'one element of rank 3', inputs: [t(4), t(1, 1, 1)] },
      {
        label: 'integers that are known',
        inputs: [Tensor.of('int64', [3, 1], [-7, 6, 9]), Tensor.of('int64', [3], [1, 3, 2])],
        constants: [0, 1],
      },
    ];
  };

interface Binary {
  readonly type: string;
  readonly f: (x: number, y: number) => number;
  /** The same for integers where it differs. */
  readonly integer?: (x: number, y: number) => number;
  /** The same for int32 where a result may not fit: it wraps around, as in every executor. */
  readonly wrapped?: (x: number, y: number) => number;
  readonly dims: (a: Dim, b: Dim) => Dim | undefined;
  /** The constant that changes nothing. */
  readonly neutral: 'ones' | 'zeros';
  /** Mean of the sample operands: away from 0 where the operator divides by them. */
  readonly shift?: number;
  /** Gradients before un-broadcasting, as functions so that what is not wanted is not built. */
  readonly gradient: (ctx: GradientContext) => readonly [() => Value, () => Value];
}

const binary = (op: Binary): OpDefinition =>
  defineOp({
    type: op.type,
    infer: (ctx) => [broadcastType(ctx)],
    propagate: (ctx) => combineContents(ctx, op.dims),
    evaluate: (ctx) => {
      const a = ctx.input(0);
      const integer = (a.dtype === 'int32' ? op.wrapped : undefined) ?? op.integer ?? op.f;
      return [zipElements(a, ctx.input(1), isFloat(a.dtype) ? op.f : integer)];
    },
    gradient: (ctx) =>
      op
        .gradient(ctx)
        .map((make, i) =>
          ctx.wants(i) ? unbroadcast(ctx.b, make(), ctx.input(i).shape) : undefined,
        ),
    parameters: 'any',
    axes: broadcastAxes,
    initial: () => op.neutral,
    flops: outputSize,
    guard: guardSmallest,
    samples: binarySamples(op.shift ?? 0),
  });

const add = binary({
  type: 'Add',
  neutral: 'zeros',
  f: (x, y) => x + y,
  wrapped: (x, y) => (x + y) | 0,
  dims: (a, b) => (a === 0 ? b : b === 0 ? a : both((x, y) => x + y)(a, b)),
  gradient: (ctx) => [() => ctx.grad(), () => ctx.grad()],
});

const sub = binary({
  type: 'Sub',
  neutral: 'zeros',
  f: (x, y) => x - y,
  wrapped: (x, y) => (x - y) | 0,
  dims: (a, b) => (b === 0 ? a : a === b ? 0 : both((x, y) => x - y)(a, b)),
  gradient: (ctx) => [() => ctx.grad(), () => ctx.b.op('Neg', [ctx.grad()])],
});

const mul = binary({
  type: 'Mul',
  neutral: 'ones',
  f: (x, y) => x * y,
  wrapped: Math.imul,
  dims: (a, b) => multiplyDims([a, b]),
  gradient: (ctx) => [
    () => ctx.b.op('Mul', [ctx.grad(), ctx.input(1)]),
    () => ctx.b.op('Mul', [ctx.grad(), ctx.input(0)]),
  ],
});

const div = binary({
  type: 'Div',
  neutral: 'ones',
  f: (x, y) => x / y,
  // C++ integer division, as every executor does it.
  integer: (x, y) => Math.trunc(x / y),
  dims: (a, b) => both((x, y) => (y === 0 ? NaN : Math.trunc(x / y)))(a, b) ?? divideDims(a, b),
  shift: 3,
  gradient: (ctx) => [
    () => ctx.b.op('Div', [ctx.grad(), ctx.input(1)]),
    () =>
      ctx.b.op('Neg', [
        ctx.b.op('Div', [ctx.b.op('Mul', [ctx.grad(), ctx.output()]), ctx.input(1)]),
      ]),
  ],
});

const pow = defineOp({
  type: 'Pow',
  infer: (ctx) => {
    // The exponent may have another element type than the base.
    const { dtype } = ctx.type(0);
    const same = ctx.type(1).dtype === dtype;
    return [
      same
        ? broadcastType(ctx)
        : { dtype, shape: broadcastShapes(ctx, [ctx.shape(0), ctx.shape(1)]) },
    ];
  },
  evaluate: (ctx) => [zipElements(ctx.input(0), ctx.input(1), Math.pow)],
  gradient: (ctx) => {
    const { b } = ctx;
    const x = ctx.input(0);
    const given = ctx.input(1);
    const p =
      given.type?.dtype === x.type?.dtype
        ? given
        : b.op('Cast', [given], {
            attributes: { to: int(elementCode(x.type?.dtype ?? 'float32')) },
          });
    const known = given.constant?.load();
    const exponent = known?.size === 1 ? known.data[0] : undefined;
    const byBase = (): Value => {
      const scaled = b.op('Mul', [ctx.grad(), p]);
      if (exponent === 1 || exponent === 0) return scaled;
      if (exponent === 2) return b.op('Mul', [scaled, x]);
      return b.op('Mul', [scaled, b.op('Pow', [x, b.op('Sub', [p, scalarLike(b, x, 1)])])]);
    };
    const byExponent = (): Value =>
      b.op('Mul', [ctx.grad(), b.op('Mul', [ctx.output(), b.op('Log', [x])])]);
    return [
      ctx.wants(0) ? unbroadcast(b, byBase(), x.shape) : undefined,
      ctx.wants(1) ? unbroadcast(b, byExponent(), given.shape) : undefined,
    ];
  },
  flops: (ctx) => 10 * outputSize(ctx),
  samples: (random) => {
    const x = (): Tensor => random.tensor([2, 3, 4], 0.3, 2);
    return [
      { label: 'square', inputs: [x(), Tensor.scalar(2)], constants: [1], differentiable: [0] },
      { label: 'root', inputs: [x(), Tensor.scalar(0.5)], constants: [1], differentiable: [0] },
      { label: 'cube', inputs: [x(), Tensor.scalar(3)], constants: [1], differentiable: [0] },
      {
        label: 'square of either sign',
        inputs: [random.tensor([3, 5]), Tensor.scalar(2)],
        constants: [1],
        differentiable: [0],
      },
      {
        label: 'cube of either sign',
        inputs: [random.tensor([3, 5]), Tensor.scalar(3)],
        constants: [1],
        differentiable: [0],
      },
      {
        label: 'negative exponent',
        inputs: [x(), Tensor.scalar(-1.5)],
        constants: [1],
        differentiable: [0],
      },
      {
        label: 'exponent 0, zeros in the base',
        inputs: [Tensor.of('float32', [3], [0, 1, -2]), Tensor.scalar(0)],
        constants: [1],
        differentiable: [0],
      },
      { label: 'exponents along an axis', inputs: [x(), random.tensor([3, 1], 0.5, 1)] },
    ];
  },
});

// ---- variadic operators

/** Gradients of a maximum or minimum: a tie goes to the last operand, so Max(x, 0) has Relu's gradient. */
const extremeGradient =
  (wins: 'Greater' | 'Less') =>
  (ctx: GradientContext): (Value | undefined)[] => {
    const { b } = ctx;
    const count = ctx.node.inputs.length;
    return ctx.node.inputs.map((_, i) => {
      if (!ctx.wants(i)) return undefined;
      let mask: Value | undefined;
      for (let j = 0; j < count; j++) {
        if (j === i) continue;
        // Strictly better than the operands after it, at least as good as those before it.
        const type = j > i ? wins : `${wins}OrEqual`;
        const better = b.op(type, [ctx.input(i), ctx.input(j)]);
        mask = mask ? b.op('And', [mask, better]) : better;
      }
      const grad = ctx.grad();
      const own = mask ? b.op('Where', [mask, grad, scalarLike(b, grad, 0)]) : grad;
      return unbroadcast(b, own, ctx.input(i).shape);
    });
  };

interface Variadic {
  readonly type: string;
  readonly f: (x: number, y: number) => number;
  /** What the accumulated operands are divided by; default 1. */
  readonly divisor?: (count: number) => number;
  readonly gradient: (ctx: GradientContext) => (Value | undefined)[];
  readonly guard?: OpDefinition['guard'];
  /** See OpDefinition. */
  readonly parameters?: 'any';
}

const variadic = (op: Variadic): OpDefinition =>
  defineOp({
    type: op.type,
    infer: (ctx) => [broadcastType(ctx)],
    evaluate: (ctx) => {
      let result = ctx.input(0);
      for (let i = 1; i < ctx.inputs.length; i++) result = zipElements(result, ctx.input(i), op.f);
      const divisor = op.divisor?.(ctx.inputs.length) ?? 1;
      return [divisor === 1 ? result : mapElements(result, (x) => x / divisor)];
    },
    gradient: op.gradient,
    ...(op.parameters ? { parameters: op.parameters } : {}),
    axes: broadcastAxes,
    flops: (ctx) => outputSize(ctx) * Math.max(0, ctx.inputCount - 1),
    guard: op.guard ?? guardSmallest,
    samples: (random) => [
      { label: 'one operand', inputs: [random.tensor([2, 3])] },
      { label: 'two of equal shape', inputs: [random.tensor([2, 3, 4]), random.tensor([2, 3, 4])] },
      {
        label: 'three, broadcast',
        inputs: [random.tensor([2, 3, 4]), random.tensor([3, 1]), random.tensor([1, 1, 4])],
      },
      { label: 'scalar', inputs: [random.tensor([2, 3, 4]), Tensor.scalar(0.1)] },
    ],
  });

const sum = variadic({
  type: 'Sum',
  f: (x, y) => x + y,
  gradient: (ctx) =>
    ctx.node.inputs.map((value, i) =>
      ctx.wants(i) ? unbroadcast(ctx.b, ctx.grad(), value?.shape) : undefined,
    ),
  // A sum takes the token for free, as one more operand.
  guard: (node, token) => node.addInput(token),
  parameters: 'any',
});

const mean = variadic({
  type: 'Mean',
  f: (x, y) => x + y,
  divisor: (count) => count,
  gradient: (ctx) => {
    const { b } = ctx;
    const shares = (): Value =>
      b.op('Mul', [ctx.grad(), scalarLike(b, ctx.grad(), 1 / ctx.node.inputs.length)]);
    return ctx.node.inputs.map((value, i) =>
      ctx.wants(i) ? unbroadcast(b, shares(), value?.shape) : undefined,
    );
  },
  parameters: 'any',
});

const max = variadic({ type: 'Max', f: Math.max, gradient: extremeGradient('Greater') });
const min = variadic({ type: 'Min', f: Math.min, gradient: extremeGradient('Less') });

export const elementwiseOps: readonly OpDefinition[] = [
  add,
  sub,
  mul,
  div,
  pow,
  sum,
  mean,
  max,
  min,
];
