// Evaluation batches, normalisation and the random numbers. In: tiny data sets. Out: batches and
// statistics compared with ones worked out the slow way. Invariant: evaluation sees every sample
// once, in order, through the same normalisation as training.
import { describe, expect, it } from 'vitest';
import {
  BatchLoader,
  Random,
  evaluationBatches,
  measureNormalisation,
} from '../../../runtime/data/index.js';
import { expectBadData } from './files.js';
import { AS_IS, buffers, options, tiny, upTo } from './tiny.js';

describe('normalisation', () => {
  it('is the mean and the population deviation of each channel', () => {
    const images = Uint8Array.from([0, 255, 10, 10, 255, 255, 10, 10]);
    const labels = Uint8Array.from([0, 0]);
    const shape = { count: 2, channels: 2, height: 1, width: 2, classes: 1 };
    const measured = measureNormalisation({ name: 'two', ...shape, images, labels });
    expect(measured.mean[0]).toBe(0.75);
    expect(measured.std[0]).toBeCloseTo(Math.sqrt(3) / 4, 7);
    expect(measured.mean[1]).toBeCloseTo(10 / 255, 7);
    expect(measured.std[1]).toBe(1);
  });

  it('is applied per channel in float32', () => {
    const data = tiny(5, 2);
    const normalise = { mean: [0.1, 0.7], std: [0.3, 0.2] };
    const [first] = evaluationBatches(data, 5, normalise);
    const expected = Float32Array.from(data.images, (byte, at) => {
      const channel = Math.floor(at / 12) % 2;
      return (byte / 255 - (normalise.mean[channel] ?? 0)) / (normalise.std[channel] ?? 0);
    });
    expect(first?.images).toEqual(expected);
  });

  it('refuses a mean that is missing and a deviation of zero', () => {
    const data = tiny(5, 2);
    const start = (mean: number[], std: number[]): (() => unknown) => {
      return () => new BatchLoader(data, options({ normalise: { mean, std } }));
    };
    expectBadData(start([0], [1]), /channel 1 of 2/);
    expectBadData(start([0, 0], [1, 0]), /channel 1 of 2/);
  });
});

describe('evaluation', () => {
  it('goes in order and fills the last batch with repeats', () => {
    const data = tiny(10);
    const firsts: number[][] = [];
    const labels: number[][] = [];
    const valid: number[] = [];
    for (const batch of evaluationBatches(data, 4, AS_IS(1))) {
      firsts.push(upTo(4).map((slot) => Math.round(Number(batch.images[slot * 12]))));
      labels.push([...batch.labels].map(Number));
      valid.push(batch.valid);
    }
    expect(valid).toEqual([4, 4, 2]);
    expect(firsts).toEqual([
      [0, 1, 2, 3],
      [4, 5, 6, 7],
      [8, 9, 9, 9],
    ]);
    expect(labels[1]).toEqual([3, 0, 2, 4]);
  });

  it('fills the buffers it is given', () => {
    const data = tiny(10);
    const into = buffers(data, 4);
    for (const { images } of evaluationBatches(data, 4, AS_IS(1), into))
      expect(images).toBe(into.images);
  });
});

describe('random numbers', () => {
  it('are those of sfc32 written down independently, for good', () => {
    const random = new Random(1, 2, 3);
    expect(upTo(4).map(() => random.uint32())).toEqual([
      3987121759, 92551270, 1122162139, 24194941,
    ]);
  });

  it('are uniform below a limit that divides no power of two', () => {
    const random = new Random(9);
    const counts = new Array<number>(7).fill(0);
    for (let draw = 0; draw < 70_000; draw++) {
      const value = random.below(7);
      counts[value] = (counts[value] ?? 0) + 1;
    }
    // 10,000 expected, deviation 93.
    for (const times of counts) expect(Math.abs(times - 10_000)).toBeLessThan(500);
  });
});
