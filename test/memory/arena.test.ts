// The arena by hand: regions of 1, 2, 4 … MiB, best fit, chunks that are split and joined.

import { expect, test } from 'vitest';
import { Arena } from '../../src/memory/index.js';

const KIB = 1024;
const MIB = 1024 * KIB;

test('regions double, or grow until the request fits', () => {
  const arena = new Arena();
  arena.allocate(100);
  expect(arena.heldBytes).toBe(MIB);
  // The next region would be 2 MiB: too small, so 4.
  arena.allocate(3 * MIB);
  expect(arena.heldBytes).toBe(5 * MIB);
  // Neither what is left of the first region nor the 4 MiB chunk, which was not worth splitting.
  arena.allocate(MIB);
  expect(arena.heldBytes).toBe(9 * MIB);
});

test('what is freed is taken again, the best fit first', () => {
  const arena = new Arena();
  const large = arena.allocate(MIB);
  const small = arena.allocate(600 * KIB);
  const held = arena.heldBytes;
  arena.free(large);
  arena.free(small);
  expect(arena.allocate(900 * KIB).start).toBe(large.start);
  expect(arena.heldBytes).toBe(held);
});

test('neighbours are joined', () => {
  const arena = new Arena();
  const parts = [0, 1, 2, 3].map(() => arena.allocate(256 * KIB));
  expect(parts.map((p) => p.start / KIB)).toEqual([0, 256, 512, 768]);
  for (const index of [1, 3, 2, 0]) {
    const part = parts[index];
    if (part) arena.free(part);
  }
  expect(arena.allocate(MIB).start).toBe(0);
  expect(arena.heldBytes).toBe(MIB);
});

test('sizes are rounded up to 256', () => {
  const arena = new Arena();
  arena.allocate(1);
  expect(arena.allocate(257).start).toBe(256);
  expect(arena.allocate(1).start).toBe(768);
});
