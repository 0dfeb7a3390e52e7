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

test.each(casesOf(pick(softmaxOps, 'LogSoftmax')).filter(([target]) => target === 'portable'))(
  'without an operator of its own: %s, %s',
  async (target, _, op, sample) => {
    const step = lowered(op, sample, target);
    expect([...step.graph.nodes].map((node) => node.op)).not.toContain('LogSoftmax');
    const errors = await errorsOf(step);
    expect(errors.double).toBeLessThan(1e-11);
    expect(errors.single).toBeLessThan(1e-5);
  },
);
