import { describe, expect, test } from 'vitest';
import { learningRate, parseSchedule } from '../../runtime/schedule.js';

const rates = (text: string, steps: number, warmup = 0): number[] =>
  Array.from({ length: steps }, (_, step) =>
    learningRate({ shape: parseSchedule(text), rate: 2, steps, warmup }, step),
  );

describe('learning rates', () => {
  test('constant', () => expect(rates('constant', 3)).toEqual([2, 2, 2]));

  test('linear falls to 0 after the last step', () =>
    expect(rates('linear', 4)).toEqual([2, 1.5, 1, 0.5]));

  test('cosine is half way down in the middle', () => {
    const [first, second = 0, middle, fourth = 0] = rates('cosine', 4);
    expect(first).toBe(2);
    expect(middle).toBeCloseTo(1, 12);
    expect(second).toBeCloseTo(1 + Math.SQRT1_2, 12);
    expect(second + fourth).toBeCloseTo(2, 12);
  });

  test('warm-up rises in a straight line, the shape fills the rest', () => {
    expect(rates('constant', 6, 4)).toEqual([0.5, 1, 1.5, 2, 2, 2]);
    expect(rates('linear', 6, 2)).toEqual([1, 2, 2, 1.5, 1, 0.5]);
    expect(rates('cosine', 3, 3)).toHaveLength(3);
  });

  test('step falls at milestones', () => {
    const round = (values: number[]): number[] => values.map((v) => Number(v.toPrecision(12)));
    expect(round(rates('step', 8))).toEqual([2, 2, 2, 2, 0.2, 0.2, 0.02, 0.02]);
    expect(round(rates('step:1,3:0.5', 4))).toEqual([2, 1, 1, 0.5]);
  });

  test.each([
    'steps',
    'cosine:1',
    'step:',
    'step:3,2',
    'step:a',
    'step:1:0',
    'step:1:',
    'step:1:2:3',
    '',
  ])('%j is refused', (text) => {
    expect(() => parseSchedule(text)).toThrow(/^usage\/option/);
  });
});
