// Where the batch goes when exporters fold it into Reshape targets.

import { describe, expect, test } from 'vitest';
import { batchAxis } from '../../src/analysis/index.js';

describe('batchAxis', () => {
  test.each([
    ['in place', ['N', 4, 2], [2, 8], 2, 0],
    ['joined with the tokens', [16, 'N', 64], [32, 64], 2, 0],
    ['split off again', ['16*N', 64], [16, 2, 64], 2, 1],
    ['joined with the heads', [16, 'N', 64], [16, 8, 16], 2, 1],
    ['joined with the heads, batch 1', [16, 'N', 64], [16, 4, 16], 1, 1],
    ['split from the heads', ['4*N', 16, 16], [2, 4, 16, 16], 2, 0],
    ['split from the heads, batch 1', ['4*N', 16, 16], [1, 4, 16, 16], 1, 0],
    ['squeezed away, batch 1', ['N', 16, 64], [16, 64], 1, 0],
    ['as large as another axis', [2, 'N', 8], [2, 2, 4, 2], 2, 1],
  ] as const)('%s', (_, from, target, batch, axis) => {
    expect(batchAxis(from, target, 'N', batch)).toBe(axis);
  });
  test('not told where it is twice, nowhere, or the sizes differ', () => {
    expect(batchAxis(['N', 'N'], [4], 'N', 2)).toBeUndefined();
    expect(batchAxis([4, 4], [16], 'N', 2)).toBeUndefined();
    expect(batchAxis(['N', 4], [5], 'N', 2)).toBeUndefined();
  });
});
