// Lowerings of the group normalization and of the gradient of normalizations against their definitions.

import { expect, test } from 'vitest';
import { normGradientOps } from '../../src/ops/norm-gradient.js';
import { normGroupOps } from '../../src/ops/norm-group.js';
import { casesOf, errorsOf, lowered, pick } from './agreement.js';

const ops = [...pick(normGradientOps, 'NormGrad'), ...pick(normGroupOps, 'GroupNormalization')];

test.each(casesOf(ops))('%s, %s', async (target, _, op, sample) => {
  const errors = await errorsOf(lowered(op, sample, target));
  expect(errors.double).toBeLessThan(1e-11);
  expect(errors.single).toBeLessThan(1e-5);
});
