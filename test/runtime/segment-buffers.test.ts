import { expect, test } from 'vitest';
import { placeValues } from '../../runtime/segments/buffers.js';
import type { PassingValue } from '../../runtime/segments/buffers.js';

const value = (first: number, last: number, count: number): PassingValue => ({
  dtype: 'float32',
  dims: [count],
  first,
  last,
});

test('a value takes the place of one whose last reader has run, not of one that its own segment reads', () => {
  const { offsets, bytes } = placeValues(
    new Map([
      ['a', value(0, 1, 1000)],
      ['b', value(1, 2, 1000)],
      ['c', value(2, 3, 1000)],
    ]),
  );
  expect(offsets.get('c')).toBe(offsets.get('a'));
  expect(offsets.get('b')).not.toBe(offsets.get('a'));
  expect(bytes).toBe(2 * 4032);
});

test('smaller values share the place of a larger one, and a larger one that of its neighbours', () => {
  const { bytes } = placeValues(
    new Map([
      ['a', value(0, 0, 1024)],
      ['b', value(1, 1, 512)],
      ['c', value(1, 1, 512)],
      ['d', value(2, 2, 2048)],
    ]),
  );
  expect(bytes).toBe(2048 * 4);
});

test('what is needed at the same time never overlaps', () => {
  let seed = 3;
  const random = (below: number): number => {
    seed = (seed * 48271) % 2147483647;
    return seed % below;
  };
  for (let round = 0; round < 100; round++) {
    const values = new Map(
      Array.from({ length: 60 }, (_, i) => {
        const first = random(30);
        return [`v${i}`, value(first, first + random(8), random(300))] as const;
      }),
    );
    const { offsets, bytes } = placeValues(values);
    const placed = [...values].map(([name, { first, last, dims }]) => {
      const from = offsets.get(name) ?? NaN;
      return { first, last, from, to: from + 4 * (dims[0] ?? 0) };
    });
    for (const one of placed) {
      expect(one.to).toBeLessThanOrEqual(bytes);
      for (const other of placed)
        if (one !== other && one.first <= other.last && other.first <= one.last)
          expect(one.to <= other.from || other.to <= one.from).toBe(true);
    }
  }
});
