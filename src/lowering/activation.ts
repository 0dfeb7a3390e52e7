// The gradients of Relu and Clip as ai.onnx nodes. In: the result of the activation and dY. Out: dY where the
// activation was not flat. Invariant: the mask is made of the result, so its operand need not be kept.

import { Tensor, int } from '../ir/index.js';
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

/** 1e30·Y cut to [0, 1] is the mask in a third of the time of a comparison; 1e30 is no float16. */
const reluGradByScaling: LowerRule = (ctx) => {
  const { b } = ctx;
  const [y, dY] = [ctx.input(0), ctx.input(1)];
  if (y.type?.dtype !== 'float32') return reluGradByComparison(ctx);
  const steep = b.op('Mul', [y, b.scalar(1e30)], { name: 'steep' });
  const mask = b.op('Clip', [steep, b.scalar(0), b.scalar(1)], { name: 'mask' });
  return [b.op('Mul', [dY, mask], { name: 'dX' })];
};

const reluGuarded: LowerRule = (ctx) => [
  ctx.b.op('Max', [ctx.input(0), ctx.input(1)], { name: 'relu' }),
];

/** One factor per limit: a logical And is not there on every target. */
const clipGrad = (ctx: LowerContext): Value[] => {
  const { b } = ctx;
  const x = ctx.input(0);
  let dX = ctx.input(1);
  const keepWhere = (comparison: 'Greater' | 'Less', index: number): void => {
    if (!ctx.has(index)) return;
    const inside = b.op(comparison, [x, ctx.input(index)], { name: 'inside' });
    dX = b.op('Mul', [dX, asNumber(b, inside, dX)], { name: 'dX' });
  };
  keepWhere('Greater', 2);
  keepWhere('Less', 3);
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
    rules: { cpu: reluGradByScaling, portable: reluGradByComparison },
  }),
  defineLowering({ type: 'ReluGuarded', rules: { cpu: reluGuarded, portable: reluGuarded } }),
  defineLowering({ type: 'ClipGrad', rules: { cpu: clipGrad, portable: clipGrad } }),
];
