// Random masks and numbers as ai.onnx nodes, the same for every target. In: the seed, an input of the step. Out: what
// ops/counter.ts computes, bit for bit. Invariant: int32 additions, multiplications and divisions only, and nothing
// that can be known before the seed is there: no executor can fold, merge or keep it.

import { Tensor, int } from '../ir/index.js';
import type { Value } from '../ir/index.js';
import { elementCode } from '../ops/index.js';
import type { Builder } from '../ops/index.js';
import {
  DIVISOR,
  UNIFORM,
  asMatrix,
  isVector,
  startWord,
  threshold,
  wordCount,
} from '../ops/counter.js';
import { asNumber } from './activation.js';
import { defineLowering } from './definition.js';
import type { LowerContext, Lowering } from './definition.js';

const int32 = (b: Builder, ...values: number[]): Value =>
  b.constant(
    values.length === 1
      ? Tensor.scalar(values[0] ?? 0, 'int32')
      : Tensor.of('int32', [values.length], values),
  );

/** x·(2x + 1). */
function square(b: Builder, x: Value): Value {
  const twice = b.op('Add', [x, x], { name: 'twice' });
  return b.op('Mul', [x, b.op('Add', [twice, int32(b, 1)], { name: 'odd' })], { name: 'square' });
}

/** See mix() of ops/counter.ts. */
function mix(b: Builder, x: Value): Value {
  const y = square(b, x);
  const high = b.op('Div', [y, int32(b, DIVISOR)], { name: 'high' });
  return square(b, b.op('Add', [y, high], { name: 'folded' }));
}

const part = (b: Builder, x: Value, start: number, end: number): Value =>
  b.op('Slice', [x, b.ints(start), b.ints(end), b.ints(0)], { name: 'part' });

/** One random int32 per element. */
function bits(ctx: LowerContext): Value {
  const { b } = ctx;
  const dims = ctx.attributes.ints('shape') ?? [];
  const matrix = asMatrix(dims);
  const { axis, rows, columns } = matrix;
  const place = int32(b, ...(ctx.attributes.ints('site') ?? []));
  const keys = mix(b, b.op('Add', [ctx.input(0), place], { name: 'place' }));
  const count = wordCount(matrix);
  const start = b.shared(`words_${count}`, () =>
    Tensor.of(
      'int32',
      [count],
      Array.from({ length: count }, (_, i) => startWord(i)),
    ),
  );
  const first = mix(b, b.op('Add', [start, part(b, keys, 0, 1)], { name: 'first' }));
  const words = mix(b, b.op('Add', [first, part(b, keys, 1, 2)], { name: 'second' }));
  const shaped = (value: Value, shape: readonly number[]): Value =>
    b.op('Reshape', [value, b.ints(...shape)], { name: 'words' });
  if (isVector(matrix)) return shaped(words, dims);
  const tall = dims.map((d, i) => (i < axis ? d : 1));
  const wide = dims.slice(axis);
  const row = (at: number): Value => shaped(part(b, words, at, at + rows), tall);
  const column = (at: number): Value => shaped(part(b, words, at, at + columns), wide);
  const sum = b.op('Add', [row(0), column(2 * rows)], { name: 'sum' });
  const product = b.op('Mul', [sum, row(rows)], { name: 'product' });
  return b.op('Add', [product, column(2 * rows + columns)], { name: 'bits' });
}

const mask = (ctx: LowerContext): Value[] => {
  const limit = threshold(ctx.attributes.float('keep', 1));
  return [ctx.b.op('Less', [bits(ctx), int32(ctx.b, limit)], { name: 'keep' })];
};

const uniform = (ctx: LowerContext): Value[] => {
  const { b } = ctx;
  const [low, high] = [ctx.attributes.float('low', 0), ctx.attributes.float('high', 1)];
  const upper = b.op('Div', [bits(ctx), int32(b, UNIFORM.divisor)], { name: 'upper' });
  const number = b.op('Cast', [upper], {
    attributes: { to: int(elementCode('float32')) },
    name: 'number',
  });
  const range = high - low;
  const scaled = b.op('Mul', [number, b.scalar(range * UNIFORM.scale)], { name: 'scaled' });
  return [b.op('Add', [scaled, b.scalar(low + range * UNIFORM.shift)], { name: 'uniform' })];
};

/** In a gradient the truth values are compared once more: ONNX Runtime would otherwise make the mask as numbers once,
 * in the forward pass, and keep that, four times the size, until the gradient. */
const masked =
  (fresh: (b: Builder, truth: Value) => Value) =>
  (ctx: LowerContext): Value[] => {
    const { b } = ctx;
    const x = ctx.input(0);
    const truth = ctx.attributes.int('again', 0) === 1 ? fresh(b, ctx.input(1)) : ctx.input(1);
    const scale = b.scalar(ctx.attributes.float('scale', 1));
    // Not x times the scale: x may be a constant, and that product would wait for nothing.
    const factors = b.op('Mul', [asNumber(b, truth, x), scale], { name: 'factors' });
    return [b.op('Mul', [x, factors], { name: 'masked' })];
  };

const compared = (b: Builder, truth: Value): Value =>
  b.op('Equal', [truth, b.constant(Tensor.scalar(1, 'bool'))], { name: 'again' });

export const randomLowerings: readonly Lowering[] = [
  defineLowering({ type: 'RandomMask', rules: { cpu: mask, portable: mask } }),
  defineLowering({ type: 'DrawUniform', rules: { cpu: uniform, portable: uniform } }),
  defineLowering({
    type: 'Masked',
    // GPU providers do not compare truth values.
    rules: { cpu: masked(compared), portable: masked((_, truth) => truth) },
  }),
];
