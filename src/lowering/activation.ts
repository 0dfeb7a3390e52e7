// The gradients of Relu and Clip as ai.onnx nodes. In: the result of the activation and dY. Out: dY where the
// activation was not flat. Invariant: the mask is made of the result, so its operand need not be kept.

import { Tensor, float, int } from '../ir/index.js';
import type { Value } from '../ir/index.js';
import { elementCode, scalarLike } from '../ops/index.js';
import type { Builder } from '../ops/index.js';
import { defineLowering } from './definition.js';
import type { LowerContext, LowerRule, Lowering } from './definition.js';

/** A truth value as 0 or 1 of the element type of `like`. */
export const asNumber = (b: Builder, truth: Value, like: Value): Value =>
  b.op('Cast', [truth], {
    attributes: { to: int(elementCode(like.type?.dtype ?? 'float32')) },
    name: 'mask',
  });

const reluGradByComparison: LowerRule = (ctx) => {
  const { b } = ctx;
  const [y, dY] = [ctx.input(0), ctx.input(1)];
  const positive = b.op('Greater', [y, scalarLike(b, y, 0)], { name: 'positive' });
  return [b.op('Mul', [dY, asNumber(b, positive, dY)], { name: 'dX' })];
};

/** The slope of a line that leaves [0, 1] within 1e-30. A power of two multiplies exactly; it is no float16. */
const STEEP = 2 ** 100;

/** Beyond it a limit times the slope comes near the largest float32. */
const LARGEST_LIMIT = 2 ** 20;

/** 1 above the limit and 0 below, or the other way round; in a fifth of the time of a comparison and a Cast. */
const mask = (b: Builder, x: Value, side: 'above' | 'below', limit: number): Value => {
  const slope = side === 'above' ? STEEP : -STEEP;
  const attributes = { alpha: float(slope), beta: float(-slope * limit) };
  return b.op('HardSigmoid', [x], { attributes, name: 'mask' });
};

const reluGradByLine: LowerRule = (ctx) => {
  const { b } = ctx;
  const [y, dY] = [ctx.input(0), ctx.input(1)];
  if (y.type?.dtype !== 'float32') return reluGradByComparison(ctx);
  return [b.op('Mul', [dY, mask(b, y, 'above', 0)], { name: 'dX' })];
};

const reluGuarded: LowerRule = (ctx) => [
  ctx.b.op('Max', [ctx.input(0), ctx.input(1)], { name: 'relu' }),
];

/** One side of a ClipGrad: 1 where x is on that side of operand `index`. */
type Side = (ctx: LowerContext, side: 'above' | 'below', index: number) => Value;

const sideByComparison: Side = (ctx, side, index) => {
  const { b } = ctx;
  const comparison = side === 'above' ? 'Greater' : 'Less';
  const inside = b.op(comparison, [ctx.input(0), ctx.input(index)], { name: 'inside' });
  return asNumber(b, inside, ctx.input(1));
};

const sideByLine: Side = (ctx, side, index) => {
  const [x, { constant }] = [ctx.input(0), ctx.input(index)];
  const [limit = Infinity] = constant?.load().data ?? [];
  return x.type?.dtype === 'float32' && Math.abs(limit) <= LARGEST_LIMIT
    ? mask(ctx.b, x, side, limit)
    : sideByComparison(ctx, side, index);
};

/** One factor per limit: a logical And is not there on every target. */
const clipGrad =
  (factor: Side): LowerRule =>
  (ctx) => {
    let dX = ctx.input(1);
    const keep = (side: 'above' | 'below', index: number): void => {
      if (ctx.has(index)) dX = ctx.b.op('Mul', [dX, factor(ctx, side, index)], { name: 'dX' });
    };
    keep('above', 2);
    keep('below', 3);
    return [dX];
  };

/** A tensor of zeros that cannot be known in advance, or ONNX Runtime would keep it as a constant for good. */
export function runtimeZeros(b: Builder, witness: Value, dims: readonly number[]): Value {
  const flat = b.op('Reshape', [witness, b.ints(-1)]);
  const first = b.op('Slice', [flat, b.ints(0), b.ints(1), b.ints(0)], { name: 'witness' });
  const infinite = b.constant(Tensor.scalar(Infinity, witness.type?.dtype ?? 'float32'));
  const never = b.op('Greater', [first, infinite], { name: 'never' });
  return b.op('Expand', [asNumber(b, never, witness), b.ints(...dims)], { name: 'zeros' });
}

export const activationLowerings: readonly Lowering[] = [
  defineLowering({
    type: 'ReluGrad',
    rules: { cpu: reluGradByLine, portable: reluGradByComparison },
  }),
  defineLowering({ type: 'ReluGuarded', rules: { cpu: reluGuarded, portable: reluGuarded } }),
  defineLowering({
    type: 'ClipGrad',
    rules: { cpu: clipGrad(sideByLine), portable: clipGrad(sideByComparison) },
  }),
];
