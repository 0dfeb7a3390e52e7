// What the gradients of recomputing are held to, by what float32 does to the stored network itself.

import { expect, test } from 'vitest';
import { THRESHOLDS, gradientLimits } from '../../src/verify/index.js';
import type { GradientDistance } from '../../src/verify/index.js';

const distance = (relL2: number, angleDegrees: number, medianTensor: number): GradientDistance => ({
  ...{ relL2, angleDegrees, medianTensor },
  ...{ maxTensor: 1, worstTensor: 'w' },
});

test('little noise leaves the thresholds as they are', () => {
  expect(gradientLimits(distance(1e-6, 1e-5, 1e-6))).toEqual({
    relL2: THRESHOLDS.gradientRelL2,
    angleDegrees: THRESHOLDS.gradientAngleDegrees,
    medianTensor: THRESHOLDS.gradientMedianTensor,
  });
});

test('more noise takes their place, but not without end', () => {
  expect(gradientLimits(distance(0.07, 4, 0.05))).toEqual({
    ...{ relL2: 0.07, angleDegrees: 4, medianTensor: 0.05 },
  });
  expect(gradientLimits(distance(1, 60, 0.05))).toMatchObject({ relL2: 0.1, angleDegrees: 5 });
});

test('no noise figure, no limit that anything meets', () => {
  const { relL2 } = gradientLimits(distance(NaN, NaN, NaN));
  expect(0 <= relL2).toBe(false);
});
