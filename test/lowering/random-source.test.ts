// Lowerings of random masks against their definitions: bit for bit, in the reference interpreter and in ONNX Runtime.

import { describe, expect, test } from 'vitest';
import { Attributes, Tensor, float, ints } from '../../src/ir/index.js';
import { randomOps } from '../../src/ops/random-source.js';
import { TARGETS, casesOf, errorsOf, lowered, pick } from './agreement.js';

test.each(casesOf(pick(randomOps, 'RandomMask', 'DrawUniform')))(
  '%s, %s',
  async (target, _, op, sample) => {
    expect(await errorsOf(lowered(op, sample, target))).toEqual({ double: 0, single: 0 });
  },
);

test.each(casesOf(pick(randomOps, 'Masked')))('%s, %s', async (target, _, op, sample) => {
  const errors = await errorsOf(lowered(op, sample, target));
  expect(errors.double).toBeLessThan(1e-11);
  expect(errors.single).toBeLessThan(1e-6);
});

describe.each(TARGETS)('%s', (target) => {
  test.each([[[0, 0]], [[2147483647, -2147483648]], [[-1, 65535]], [[1, 1000003]]] as const)(
    'masks of seed %o, where every word overflows',
    async (words) => {
      const [op] = pick(randomOps, 'RandomMask');
      const sample = {
        label: '',
        inputs: [Tensor.of('int32', [2], words)],
        attributes: new Attributes({
          shape: ints([16, 8, 16, 16]),
          site: ints([2147483647, -2147483647]),
          keep: float(0.5),
        }),
      };
      const step = lowered(op ?? expect.fail(), sample, target);
      const kept = step.expected[0]?.data.reduce((sum, x) => sum + x, 0) ?? NaN;
      expect(Math.abs(kept / 32768 - 0.5)).toBeLessThan(0.015);
      expect(await errorsOf(step)).toEqual({ double: 0, single: 0 });
    },
  );
});
