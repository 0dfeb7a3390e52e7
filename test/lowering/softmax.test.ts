// Lowerings of the cross-entropy loss and its gradient against their definitions.

import { expect, test } from 'vitest';
import { softmaxOps } from '../../src/ops/softmax.js';
import { casesOf, errorsOf, lowered, pick } from './agreement.js';

const ops = pick(softmaxOps, 'SoftmaxCrossEntropyLoss', 'CrossEntropyGrad');

test.each(casesOf(ops))('%s, %s', async (target, _, op, sample) => {
  const errors = await errorsOf(lowered(op, sample, target));
  expect(errors.double).toBeLessThan(1e-11);
  expect(errors.single).toBeLessThan(1e-5);
});
