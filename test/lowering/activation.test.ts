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

test.each(TARGETS)('%s: at the limits of a Clip the gradient is 0', async (target) => {
  const inputs = [
    Tensor.of('float32', [5], [-1, 0, 3, 6, 7]),
    Tensor.of('float32', [5], [1, 2, 3, 4, 5]),
    Tensor.scalar(0),
    Tensor.scalar(6),
  ];
  const step = lowered(pick(ops, 'ClipGrad')[0] ?? expect.fail(), { label: '', inputs }, target);
  expect(step.expected[0]?.toArray()).toEqual([0, 0, 3, 0, 0]);
  expect(await errorsOf(step)).toEqual({ double: 0, single: 0 });
});
