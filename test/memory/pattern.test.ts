// The layout of a memory pattern by hand: best fit into gaps that join.

import { describe, expect, test } from 'vitest';
import { Layout } from '../../src/memory/index.js';

const KIB = 1024;

test('tensors follow one another, rounded up to 256', () => {
  const layout = new Layout();
  expect(layout.place(1).start).toBe(0);
  expect(layout.place(257).start).toBe(256);
  expect(layout.place(1).start).toBe(768);
  expect(layout.bytes).toBe(1024);
});

test('the smallest gap that fits is taken, the lowest of equal ones', () => {
  const layout = new Layout();
  const places = [4, 1, 2, 1, 2, 1].map((size) => layout.place(size * KIB));
  for (const index of [0, 2, 4]) {
    const place = places[index];
    if (place) layout.free(place);
  }
  expect(layout.place(2 * KIB).start).toBe(5 * KIB);
  expect(layout.place(KIB).start).toBe(8 * KIB);
  expect(layout.place(3 * KIB).start).toBe(0);
  // The rest of a gap is a gap.
  expect(layout.place(KIB).start).toBe(3 * KIB);
  expect(layout.place(2 * KIB).start).toBe(11 * KIB);
  expect(layout.bytes).toBe(13 * KIB);
});

describe.each([[[0, 1, 2]], [[0, 2, 1]], [[1, 0, 2]], [[1, 2, 0]], [[2, 0, 1]], [[2, 1, 0]]])(
  'gaps join in the order %j',
  (order) => {
    test.each([true, false])('with a tensor above: %j', (isBelow) => {
      const layout = new Layout();
      const places = [1, 2, 3].map((size) => layout.place(size * KIB));
      if (isBelow) layout.place(KIB);
      for (const index of order) {
        const place = places[index];
        if (place) layout.free(place);
      }
      expect(layout.place(6 * KIB).start).toBe(0);
      expect(layout.bytes).toBe((isBelow ? 7 : 6) * KIB);
    });
  },
);
