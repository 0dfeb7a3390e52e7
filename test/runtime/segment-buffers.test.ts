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

test('a value is written over an operand of its shape that ends with its segment', () => {
  const place = (over: PassingValue): ReadonlyMap<string, number> =>
    placeValues(
      new Map([
        ['other', value(0, 3, 1000)],
        ['a', over],
        ['b', { ...value(1, 2, 1000), over: 'a' }],
        ['c', { ...value(1, 2, 1000), over: 'a' }],
        ['d', value(2, 2, 1000)],
      ]),
    ).offsets;
  const offsets = place(value(0, 1, 1000));
  expect(offsets.get('b')).toBe(offsets.get('a'));
  expect(offsets.get('c')).not.toBe(offsets.get('a'));
  expect(offsets.get('d')).not.toBe(offsets.get('b'));
  // Not where it is read later, or is only as large.
  for (const kept of [value(0, 2, 1000), { ...value(0, 1, 1000), dims: [10, 100] }]) {
    const apart = place(kept);
    expect(apart.get('b')).not.toBe(apart.get('a'));
  }
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
