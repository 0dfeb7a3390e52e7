// Lowerings of the activation gradients against their definitions.

import { expect, test } from 'vitest';
import { Tensor } from '../../src/ir/index.js';
import { activationOps } from '../../src/ops/activation.js';
import { TARGETS, casesOf, errorsOf, lowered, pick } from './agreement.js';

const ops = pick(activationOps, 'ReluGrad', 'ReluGuarded', 'ClipGrad');

test.each(casesOf(ops))('%s, %s', async (target, _, op, sample) => {
  const errors = await errorsOf(lowered(op, sample, target));
  expect(errors.double).toBeLessThan(1e-11);
  expect(errors.single).toBeLessThan(1e-6);
});

test.each(TARGETS)('%s: the mask of tiny, zero, negative and infinite results', async (target) => {
  const inputs = [
    Tensor.of('float32', [6], [Math.fround(1e-20), 0, -0, -1e-20, -3, Infinity]),
    Tensor.of('float32', [6], [1, 2, 3, 4, 5, 6]),
  ];
  const step = lowered(pick(ops, 'ReluGrad')[0] ?? expect.fail(), { label: '', inputs }, target);
  expect(step.expected[0]?.toArray()).toEqual([1, 0, 0, 0, 0, 6]);
  const errors = await errorsOf(step);
  expect(errors).toEqual({ double: 0, single: 0 });
});

const limits = TARGETS.flatMap((target) =>
  [
    [0, 6],
    [Math.fround(-0.1), Math.fround(0.3)],
    [-(2 ** 20), 2 ** 20],
    [-1e30, 1e30],
  ].map(([low = 0, high = 0]) => ({ target, low, high })),
);

test.each(limits)(
  '$target: at the limits $low and $high of a Clip the gradient is 0',
  async ({ target, low, high }) => {
    const ulp = 2 ** -23;
    const x = [
      ...[1.5, 1 + ulp, 1, 1 - ulp].map((k) => (low === 0 ? -ulp * (k - 1) : low * k)),
      ...[0.5, 1 - ulp, 1, 1 + ulp, 2].map((k) => high * k),
      ...[-Infinity, Infinity],
    ].map(Math.fround);
    const count = [x.length];
    const inputs = [
      Tensor.of('float32', count, x),
      Tensor.of(
        'float32',
        count,
        x.map(() => 1),
      ),
      Tensor.scalar(low),
      Tensor.scalar(high),
    ];
    for (const constants of [[], [2, 3]]) {
      const sample = { label: '', inputs, constants };
      const step = lowered(pick(ops, 'ClipGrad')[0] ?? expect.fail(), sample, target);
      expect(step.expected[0]?.toArray()).toEqual([0, 0, 0, 1, 1, 1, 0, 0, 0, 0, 0]);
      expect(await errorsOf(step)).toEqual({ double: 0, single: 0 });
    }
  },
);
