// The remainder of a division: Mod. In: integer or float operands under broadcasting. Out: a remainder with the sign of
// the divisor, or of the dividend where fmod says so. Invariant: known extents stay known (exporters pad with it).

import { Attributes, Tensor, int, isFloat } from '../ir/index.js';
import type { Dim, Value } from '../ir/index.js';
import { broadcastAxes } from './axes.js';
import { broadcastType, outputSize } from './broadcast.js';
import { defineOp } from './definition.js';
import type { GradientContext, OpDefinition } from './definition.js';
import { divideDims } from './dims.js';
import { zipElements } from './elements.js';
import { combineContents } from './elementwise.js';
import { guardSmallest, unbroadcast } from './gradient-parts.js';

const modulo = (x: number, y: number): number => x - y * Math.floor(x / y);

/** a mod b where that is the same whatever the symbols stand for. */
function moduloDims(a: Dim, b: Dim): Dim | undefined {
  if (typeof a === 'number' && typeof b === 'number') return b === 0 ? undefined : modulo(a, b);
  return divideDims(a, b) === undefined ? undefined : 0;
}

/** x/y rounded towards zero: how often the divisor was taken away. */
function quotient(ctx: GradientContext): Value {
  const { b } = ctx;
  const ratio = b.op('Div', [ctx.input(0), ctx.input(1)]);
  return b.op('Mul', [b.op('Sign', [ratio]), b.op('Floor', [b.op('Abs', [ratio])])]);
}

const mod = defineOp({
  type: 'Mod',
  infer: (ctx) => {
    const type = broadcastType(ctx);
    if (isFloat(type.dtype) && ctx.attributes.int('fmod', 0) === 0)
      ctx.fail('float operands need fmod=1');
    return [type];
  },
  // Extents and what is compared with them are not negative, so both signs agree.
  propagate: (ctx) =>
    combineContents(ctx, (a, b) =>
      [a, b].some((d) => typeof d === 'number' && d < 0) ? undefined : moduloDims(a, b),
    ),
  evaluate: (ctx) => {
    const f = ctx.attributes.int('fmod', 0) === 1 ? (x: number, y: number) => x % y : modulo;
    return [zipElements(ctx.input(0), ctx.input(1), f)];
  },
  gradient: (ctx) => {
    const { b } = ctx;
    if (!isFloat(ctx.input(0).type?.dtype ?? 'float32')) return [undefined, undefined];
    const byDivisor = (): Value => b.op('Neg', [b.op('Mul', [ctx.grad(), quotient(ctx)])]);
    return [
      ctx.wants(0) ? unbroadcast(b, ctx.grad(), ctx.input(0).shape) : undefined,
      ctx.wants(1) ? unbroadcast(b, byDivisor(), ctx.input(1).shape) : undefined,
    ];
  },
  axes: broadcastAxes,
  flops: outputSize,
  guard: guardSmallest,
  samples: () => {
    const fmod = new Attributes({ fmod: int(1) });
    const whole = (dims: number[], values: number[]): Tensor => Tensor.of('int64', dims, values);
    return [
      { label: 'integers', inputs: [whole([6], [-7, -6, 5, 7, 0, 9]), whole([1], [4])] },
      { label: 'negative divisors', inputs: [whole([2, 2], [-7, 7, 5, -4]), whole([2], [-4, 3])] },
      {
        label: 'integers, the sign of the dividend',
        inputs: [whole([4], [-7, 7, -5, 5]), whole([4], [4, 4, -3, -3])],
        attributes: fmod,
      },
      {
        label: 'floats',
        inputs: [
          Tensor.of('float32', [2, 3], [-7.25, 3.5, 0.75, 5.25, -1.75, 2.25]),
          Tensor.of('float32', [3], [2, -1.5, 0.5]),
        ],
        attributes: fmod,
      },
    ];
  },
});

export const moduloOps: readonly OpDefinition[] = [mod];
