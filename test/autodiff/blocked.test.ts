// A whole step in the blocked layout, in float64: recomputing and storing give the same gradients, those are derivatives of
// the loss, and they are the gradients of the same step in plain operators. The interpreter works in blocks of either size.

import { NCHWC } from '../../src/ir/index.js';
import { describe, expect, test } from 'vitest';
import { preResNet, resNetImageNet } from '../../fixtures/models.js';
import type { Settings } from '../../passes/index.js';
import type { Model } from '../../src/ir/index.js';
import { checkTokens } from '../../src/schedule/index.js';
import { compareGradients, constantsByName } from '../../src/verify/index.js';
import { LIMITS, build, buildStored, check, couple, evaluate } from './support.js';

const CASES: readonly { name: string; make: () => Model; settings: Partial<Settings> }[] = [
  {
    name: 'pre-activation, two streams through the transitions, blocks of 8',
    make: () => preResNet({ depth: 14, width: 8, image: 8, classes: 3, seed: 1, norm: 'random' }),
    settings: { recipe: 'paper', batch: 8, block: 8 },
  },
  {
    name: 'pre-activation, same weights, blocks of 16 in the wider stages',
    make: () => preResNet({ depth: 14, width: 8, image: 8, classes: 3, seed: 2, norm: 'random' }),
    settings: { recipe: 'rewire', batch: 16, block: 16 },
  },
  {
    name: 'bottlenecks behind a max pool, a batch that is no multiple of the block',
    make: () =>
      resNetImageNet({
        ...{ layers: [2, 2], block: 'bottleneck', width: 8, image: 32 },
        ...{ classes: 3, seed: 3, norm: 'random' },
      }),
    settings: { recipe: 'paper', batch: 3, block: 8 },
  },
];

describe.each(CASES)('$name', ({ make, settings }) => {
  const coupled = couple(make(), { seed: 3, ...settings });

  test.each(['reverse', 'recompute', 'store'] as const)('%s', (policy) => {
    const { figures, gradient } = check(coupled, { policy });
    expect(figures.recompute, gradient.worstTensor).toBeLessThanOrEqual(LIMITS.recompute);
    expect(figures['finite differences']).toBeLessThanOrEqual(LIMITS['finite differences']);
    expect(figures['running statistics']).toBeLessThanOrEqual(LIMITS['running statistics']);
  });

  test('the gradients of plain operators', () => {
    const weights = constantsByName(coupled.rev);
    const blocked = build(coupled);
    const plain = buildStored(coupled, { block: undefined });
    const domains = (step: typeof plain): Set<string> =>
      new Set([...step.state.model.graph.nodes].map((node) => node.domain));
    expect(domains(blocked)).toContain(NCHWC);
    expect(domains(plain)).toEqual(new Set(['']));
    const [own, other] = [evaluate(blocked, weights, 5), evaluate(plain, weights, 5)];
    expect(own.loss).toBeCloseTo(other.loss, 9);
    const distance = compareGradients(own.gradients, other.gradients, 1e-9);
    expect(distance.maxTensor, distance.worstTensor).toBeLessThan(LIMITS.recompute);
  });

  test('every recomputed node waits for its token', () => {
    const { model, step } = build(coupled, { policy: 'reverse' }).state;
    expect(checkTokens(model.graph, step?.backward.waits ?? new Map())).toEqual([]);
  });
});
