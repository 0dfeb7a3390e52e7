// Training batches: order, augmentation and continuation. In: tiny data sets whose first
// pixel tells the sample. Out: batches compared with ones worked out the slow way. Invariant: the
// loader's stream is a function of data, seed and options, from any point of restoration on.
import { describe, expect, it } from 'vitest';
import type { Dataset, LoaderOptions } from '../../../runtime/data/index.js';
import { BatchLoader } from '../../../runtime/data/index.js';
import { expectBadData } from './files.js';
import { AS_IS, buffers, options, tiny, upTo } from './tiny.js';

/** The next batches, copied, with the epoch each began in. */
function take(
  loader: BatchLoader,
  data: Dataset,
  batch: number,
  times: number,
): { images: number[]; labels: bigint[]; epoch: number }[] {
  const into = buffers(data, batch);
  return Array.from({ length: times }, () => {
    const { epoch } = loader.next(into);
    return { images: [...into.images], labels: [...into.labels], epoch };
  });
}

/** Numbers of the samples given out, read off their first pixels. */
function samples(loader: BatchLoader, data: Dataset, batch: number, times: number): number[] {
  const size = data.channels * data.height * data.width;
  return take(loader, data, batch, times).flatMap(({ images }) =>
    Array.from({ length: batch }, (_, slot) => Math.round(images[slot * size] ?? NaN)),
  );
}

const sorted = (values: number[]): number[] => [...values].sort((a, b) => a - b);

describe('order', () => {
  it('gives every sample once per epoch, carrying the remainder over', () => {
    const data = tiny(10);
    const seen = samples(new BatchLoader(data, options()), data, 4, 5);
    const [first, second] = [seen.slice(0, 10), seen.slice(10)];
    expect(sorted(first)).toEqual(upTo(10));
    expect(sorted(second)).toEqual(upTo(10));
    expect(first).not.toEqual(upTo(10));
    expect(first).not.toEqual(second);
  });

  it('reports the epoch of the first sample in the batch', () => {
    const data = tiny(10);
    const epochs = take(new BatchLoader(data, options()), data, 4, 6).map(({ epoch }) => epoch);
    expect(epochs).toEqual([0, 0, 0, 1, 1, 2]);
  });

  it('serves batches larger than the data set', () => {
    const data = tiny(3);
    const seen = samples(new BatchLoader(data, options({ batch: 7 })), data, 7, 1);
    expect(sorted(seen.slice(0, 3))).toEqual([0, 1, 2]);
    expect(sorted(seen.slice(3, 6))).toEqual([0, 1, 2]);
  });

  it('depends on the seed alone', () => {
    const data = tiny(50);
    const augment = { flip: true, cropPadding: 1 };
    const stream = (seed: number): unknown =>
      take(new BatchLoader(data, options({ seed, augment })), data, 4, 30);
    expect(stream(5)).toEqual(stream(5));
    expect(stream(5)).not.toEqual(stream(6));
  });

  it('keeps labels with their images', () => {
    const data = tiny(20);
    for (const { images, labels } of take(new BatchLoader(data, options()), data, 4, 10))
      labels.forEach((label, slot) => {
        expect(Number(label)).toBe((Math.round(images[slot * 12] ?? NaN) * 7) % 5);
      });
  });

  it('puts each sample in each place about equally often', () => {
    const data = tiny(4);
    const seen = samples(new BatchLoader(data, options()), data, 4, 4000);
    const table = new Array<number>(16).fill(0);
    seen.forEach((sample, at) => {
      const cell = (at % 4) * 4 + sample;
      table[cell] = (table[cell] ?? 0) + 1;
    });
    // 1000 expected, deviation 27.
    for (const times of table) expect(Math.abs(times - 1000)).toBeLessThan(150);
  });
});

describe('seek', () => {
  it.each([0, 1, 5, 13, 40])('continues after %i batches bit for bit', (batches) => {
    const data = tiny(13, 3);
    const change = { augment: { flip: true, cropPadding: 2 }, normalise: AS_IS(3) };
    const loader = new BatchLoader(data, options(change));
    take(loader, data, 4, batches);
    const other = new BatchLoader(data, options(change));
    take(other, data, 4, 2);
    other.seek(batches);
    expect(take(other, data, 4, 9)).toEqual(take(loader, data, 4, 9));
  });

  it('continues at the very end of an epoch', () => {
    const data = tiny(8);
    const loader = new BatchLoader(data, options());
    take(loader, data, 4, 2);
    const other = new BatchLoader(data, options());
    other.seek(2);
    expect(take(other, data, 4, 5)).toEqual(take(loader, data, 4, 5));
  });

  it('refuses what is no number of batches', () => {
    expect(() => new BatchLoader(tiny(8), options()).seek(-1)).toThrow(/batches/);
  });
});

describe('augmentation', () => {
  /** The crop worked out pixel by pixel. */
  function crop(data: Dataset, sample: number, top: number, left: number, flip: boolean): number[] {
    const { channels, height, width, images } = data;
    const out: number[] = [];
    for (let c = 0; c < channels; c++)
      for (let y = 0; y < height; y++)
        for (let x = 0; x < width; x++) {
          const fromY = y + top;
          const fromX = (flip ? width - 1 - x : x) + left;
          const inside = fromY >= 0 && fromY < height && fromX >= 0 && fromX < width;
          const at = ((sample * channels + c) * height + fromY) * width + fromX;
          out.push(inside ? (images[at] ?? NaN) : 0);
        }
    return out;
  }

  it('gives every crop and flip, pixel for pixel, and nothing else', () => {
    const data = tiny(1, 2, 3, 4);
    const padding = 2;
    const expected = new Set<string>();
    for (let top = -padding; top <= padding; top++)
      for (let left = -padding; left <= padding; left++)
        for (const flip of [false, true]) expected.add(crop(data, 0, top, left, flip).join());
    expect(expected.size).toBe(50);

    const augment = { flip: true, cropPadding: padding };
    const loader = new BatchLoader(data, options({ augment, batch: 1, normalise: AS_IS(2) }));
    const seen = new Set<string>();
    for (const { images } of take(loader, data, 1, 1000)) seen.add(images.map(Math.round).join());
    expect(seen).toEqual(expected);
  });

  it('survives a padding wider than the image', () => {
    const data = tiny(1);
    const augment = { flip: true, cropPadding: 9 };
    const loader = new BatchLoader(data, options({ augment, batch: 1 }));
    const allowed = new Set<string>();
    for (let top = -9; top <= 9; top++)
      for (let left = -9; left <= 9; left++)
        for (const flip of [false, true]) allowed.add(crop(data, 0, top, left, flip).join());
    for (const { images } of take(loader, data, 1, 500))
      expect(allowed).toContain(images.map(Math.round).join());
  });

  it('flips about half of the samples, and crops anew each epoch', () => {
    const data = tiny(1);
    const loader = new BatchLoader(
      data,
      options({ augment: { flip: true, cropPadding: 0 }, batch: 1 }),
    );
    const straight = crop(data, 0, 0, 0, false).join();
    const times = take(loader, data, 1, 1000).filter(
      ({ images }) => images.map(Math.round).join() === straight,
    ).length;
    expect(times).toBeGreaterThan(420);
    expect(times).toBeLessThan(580);
  });

  it('normalises the zeros around a crop like any black pixel', () => {
    const data = tiny(1);
    const normalise = { mean: [0.5], std: [0.25] };
    const augment = { flip: false, cropPadding: 9 };
    const loader = new BatchLoader(data, options({ augment, batch: 1, normalise }));
    const values = take(loader, data, 1, 50).flatMap(({ images }) => images);
    expect(Math.min(...values)).toBe(-2);
  });
});

describe('misuse', () => {
  it('is told at once', () => {
    const data = tiny(10);
    const make = (change: Partial<LoaderOptions>): (() => unknown) => {
      return () => new BatchLoader(data, options(change));
    };
    expect(make({ batch: 0 })).toThrow(/batch[^]*from 1 upwards/);
    expect(make({ seed: 0.5 })).toThrow(/seed[^]*0.5 is not a whole number/);
    expect(make({ augment: { flip: true, cropPadding: -1 } })).toThrow(/crop padding/);
    expectBadData(() => new BatchLoader(tiny(0), options()), /no samples/);
    expect(() => new BatchLoader(data, options()).next(buffers(data, 3))).toThrow(/do not hold/);
    const wrong = { ...data, labels: new Int32Array(10).fill(5) };
    const step = (): unknown => new BatchLoader(wrong, options()).next(buffers(data, 4));
    expectBadData(step, /no label below 5/);
  });
});
