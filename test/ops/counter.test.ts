// Quality of the random bits that masks are made of. Limits are five standard errors of a fair coin: one test in a
// million would fail by chance, and seeds are fixed. What is measured: share, neighbours in each direction, rectangles
// (four elements in two rows and two columns, where a sum of row and column words would show), sums of rows and
// columns, and the same between places and between steps.

import { describe, expect, test } from 'vitest';
import {
  asMatrix,
  isVector,
  randomBits,
  siteOf,
  threshold,
  wordCount,
} from '../../src/ops/counter.js';

/** A mask as numbers of mean 0 and variance 1. */
function mask(
  dims: readonly number[],
  keep: number,
  seed: readonly [number, number],
  place = 'block/dropout',
): Float64Array {
  const limit = threshold(keep);
  const spread = Math.sqrt(keep * (1 - keep));
  return Float64Array.from(
    randomBits(seed, siteOf(place), dims),
    (z) => ((z < limit ? 1 : 0) - keep) / spread,
  );
}

const meanProduct = (...parts: readonly ArrayLike<number>[]): number => {
  const count = parts[0]?.length ?? 0;
  let sum = 0;
  for (let i = 0; i < count; i++) sum += parts.reduce((p, x) => p * (x[i] ?? NaN), 1);
  return sum / count;
};

const noise = (count: number): number => 5 / Math.sqrt(count);

const SHAPES: readonly (readonly number[])[] = [
  [16, 8, 16, 16],
  [64, 1024],
  [4, 64, 96],
  [4096, 1, 1, 1],
  [100003],
];
const KEEPS = [0.5, 0.9, 0.2];

describe.each(SHAPES.map((dims) => ({ dims })))('$dims', ({ dims }) => {
  const count = dims.reduce((n, d) => n * d, 1);
  const { rows, columns } = asMatrix(dims);
  test.each(KEEPS)('keeps %d of the elements', (keep) => {
    const m = mask(dims, keep, [7, 3]);
    expect(m.length).toBe(count);
    expect(Math.abs(meanProduct(m))).toBeLessThan(noise(count));
    expect(Math.abs(meanProduct(m, m) - 1)).toBeLessThan(
      (noise(count) * (1 - keep)) / keep + noise(count),
    );
  });

  test('neighbours along the rows and across them do not know of each other', () => {
    const m = mask(dims, 0.5, [7, 3]);
    for (const distance of new Set([1, 2, 3, columns, 2 * columns, columns + 1])) {
      if (distance >= count / 2) continue;
      const shifted = m.subarray(distance);
      const own = m.subarray(0, count - distance);
      expect(Math.abs(meanProduct(own, shifted)), String(distance)).toBeLessThan(
        noise(count - distance),
      );
    }
  });

  test('no rectangle and no sum of a row or column stands out', () => {
    const m = mask(dims, 0.5, [1, 2]);
    if (rows === 1 || columns === 1) return;
    for (const [down, right] of [
      [1, 1],
      [2, 3],
      [Math.floor(rows / 2), Math.floor(columns / 2)],
    ] as const) {
      let sum = 0;
      let cells = 0;
      for (let i = 0; i + down < rows; i++)
        for (let j = 0; j + right < columns; j++, cells++) {
          const at = i * columns + j;
          const under = at + down * columns;
          sum += (m[at] ?? 0) * (m[at + right] ?? 0) * (m[under] ?? 0) * (m[under + right] ?? 0);
        }
      expect(Math.abs(sum / cells), `${down},${right}`).toBeLessThan(noise(cells));
    }
    // The variance of sums of n fair terms is n, known to about sqrt(2 / sums).
    const spread = (
      lines: number,
      length: number,
      at: (line: number, k: number) => number,
    ): number => {
      let total = 0;
      for (let line = 0; line < lines; line++) {
        let sum = 0;
        for (let k = 0; k < length; k++) sum += m[at(line, k)] ?? 0;
        total += (sum * sum) / length;
      }
      return total / lines;
    };
    const rowsSpread = spread(rows, columns, (i, j) => i * columns + j);
    const columnsSpread = spread(columns, rows, (j, i) => i * columns + j);
    expect(Math.abs(rowsSpread - 1)).toBeLessThan(5 * Math.sqrt(2 / rows));
    expect(Math.abs(columnsSpread - 1)).toBeLessThan(5 * Math.sqrt(2 / columns));
  });

  test('other places, steps and trainings draw anew', () => {
    const here = mask(dims, 0.5, [0, 1]);
    const others = [
      mask(dims, 0.5, [0, 2]),
      mask(dims, 0.5, [0, 3]),
      mask(dims, 0.5, [1, 1]),
      mask(dims, 0.5, [1, 0]),
      mask(dims, 0.5, [0, 1], 'block/dropout_1'),
      mask(dims, 0.5, [0, 1], 'block/dropout_2'),
    ];
    [here, ...others].forEach((a, i, all) => {
      for (const b of all.slice(i + 1))
        expect(Math.abs(meanProduct(a, b))).toBeLessThan(noise(count));
    });
  });
});

test('one element over many steps is a fair coin, and no step tells the next', () => {
  const steps = 20000;
  const over = Float64Array.from(
    { length: steps },
    (_, step) => mask([2, 1, 1, 1], 0.5, [5, step])[1] ?? NaN,
  );
  expect(Math.abs(meanProduct(over))).toBeLessThan(noise(steps));
  for (const lag of [1, 2, 3, 4, 8, 256])
    expect(
      Math.abs(meanProduct(over.subarray(lag), over.subarray(0, -lag))),
      String(lag),
    ).toBeLessThan(noise(steps - lag));
});

test('the bits fill all 256 classes of their highest byte alike', () => {
  const counts = new Array<number>(256).fill(0);
  const bits = randomBits([3, 4], siteOf('x'), [256, 1024]);
  for (const z of bits) counts[(z >> 24) + 128] = (counts[(z >> 24) + 128] ?? 0) + 1;
  const expected = bits.length / 256;
  const chi = counts.reduce((sum, n) => sum + (n - expected) ** 2 / expected, 0);
  // 255 degrees of freedom: mean 255, deviation 22.6.
  expect(chi).toBeGreaterThan(255 - 5 * 22.6);
  expect(chi).toBeLessThan(255 + 5 * 22.6);
});

test('few words are hashed for many elements', () => {
  expect(asMatrix([64, 32, 28, 28])).toEqual({ axis: 2, rows: 2048, columns: 784 });
  expect(wordCount(asMatrix([64, 32, 28, 28]))).toBe(2 * (2048 + 784));
  expect(isVector(asMatrix([32, 1, 1, 1]))).toBe(true);
  expect(wordCount(asMatrix([32, 1, 1, 1]))).toBe(32);
  expect(randomBits([0, 0], [0, 0], [4, 4]).length).toBe(16);
  expect(randomBits([0, 0], [0, 0], []).length).toBe(1);
});
