// In exact arithmetic, recomputing and storing give the same gradients, and both are derivatives of the loss.

import { describe, expect, test } from 'vitest';
import type { Policy } from '../../src/schedule/index.js';
import { FORMS, LIMITS, NETWORKS, check, couple } from './support.js';

const POLICIES: readonly Policy[] = ['reverse', 'recompute'];

const CASES = Object.entries(NETWORKS).flatMap(([name, make]) =>
  FORMS.map((form) => ({ name, make, ...form })),
);

describe.each(CASES)('$name, $recipe $partition', ({ make, recipe, partition, match }) => {
  const coupled = couple(make(), { recipe, partition, match, seed: 3 });
  test('is coupled', () => {
    expect(coupled.chains.length).toBeGreaterThan(0);
  });
  test.each(
    POLICIES.flatMap((policy) =>
      (['cpu', 'portable'] as const).map((target) => ({ policy, target })),
    ),
  )('$policy on $target', ({ policy, target }) => {
    const { figures, gradient } = check(coupled, { policy, target });
    expect(figures.recompute, gradient.worstTensor).toBeLessThanOrEqual(LIMITS.recompute);
    expect(figures['finite differences']).toBeLessThanOrEqual(LIMITS['finite differences']);
    expect(figures['running statistics']).toBeLessThanOrEqual(LIMITS['running statistics']);
  });
});
