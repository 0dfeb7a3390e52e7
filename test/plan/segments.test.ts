import { expect, test } from 'vitest';
import { cutSegments, isSegmented } from '../../src/plan/index.js';
import type { PlanStep } from '../../src/plan/index.js';

type Label = Pick<PlanStep, 'phase' | 'unit'>;

const label = (text: string): Label => {
  const [phase, unit] = text.split(' ');
  return { phase: phase as Label['phase'], unit: unit ?? '' };
};

const cut = (...labels: readonly string[]): number[] => [...cutSegments(labels.map(label))];

test('forward and backward of a unit are a segment each; recompute, gradients and updates are one', () => {
  expect(
    cut(
      'forward a',
      'forward a',
      'forward b',
      'recompute b',
      'backward b',
      'update b',
      'backward b',
      'update b',
      'backward a',
    ),
  ).toEqual([0, 0, 1, 2, 2, 2, 2, 2, 3]);
});

test('what belongs to no unit runs with what was before it', () => {
  expect(
    cut('forward loss', 'forward a', 'backward loss', 'update statistics', 'backward a'),
  ).toEqual([0, 1, 1, 1, 2]);
});

test('units that take turns are one segment, with all between them', () => {
  expect(cut('forward a', 'forward b', 'forward c', 'forward b', 'forward d')).toEqual([
    0, 1, 1, 1, 2,
  ]);
  expect(cut('forward a', 'forward b', 'forward a', 'forward c')).toEqual([0, 0, 0, 1]);
});

test('it is for very deep steps: one of 218 layers has 16,000 nodes, one of 1,202 87,000', () => {
  expect([16_000, 43_000, 87_000].map(isSegmented)).toEqual([false, true, true]);
});

test('a long row of updates is cut into equal pieces', () => {
  const numbers = cut('backward a', ...Array.from({ length: 600 }, () => 'update b'), 'backward c');
  const sizes = [0, 1, 2, 3].map((n) => numbers.filter((number) => number === n).length);
  expect(sizes).toEqual([240, 240, 121, 1]);
});

test('numbers never fall and leave none out, whatever the labels', () => {
  let seed = 7;
  const random = (below: number): number => {
    seed = (seed * 48271) % 2147483647;
    return seed % below;
  };
  const phases = ['forward', 'recompute', 'backward', 'update'] as const;
  for (let round = 0; round < 200; round++) {
    const labels = Array.from({ length: 1 + random(400) }, (): Label => ({
      phase: phases[random(4)] ?? 'forward',
      unit: random(3) === 0 ? 'loss' : `unit${random(20)}`,
    }));
    const numbers = [...cutSegments(labels)];
    expect(numbers[0]).toBe(0);
    numbers.forEach((number, index) => {
      const step = number - (numbers[index - 1] ?? 0);
      expect(step === 0 || step === 1).toBe(true);
    });
  }
});
