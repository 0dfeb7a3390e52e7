// Values of options: what is taken, and what is refused by name.

import { describe, expect, test } from 'vitest';
import {
  inputShape,
  nonNegative,
  oneOf,
  positiveInteger,
  wholeNumber,
} from '../../src/cli/parse.js';

const parsers: Record<string, (value: string) => unknown> = {
  positiveInteger: positiveInteger('--x'),
  wholeNumber: wholeNumber('--x'),
  nonNegative: nonNegative('--x'),
  oneOf: oneOf('--x', ['a', 'b']),
};

describe('numbers and words', () => {
  test.each([
    ['positiveInteger', '32', 32],
    ['wholeNumber', '0', 0],
    ['nonNegative', '1e-3', 1e-3],
    ['oneOf', 'b', 'b'],
  ])('%s takes %s', (parser, text, value) => {
    expect(parsers[parser]?.(text)).toBe(value);
  });
  test.each([
    ['positiveInteger', '0'],
    ['positiveInteger', '1.5'],
    ['positiveInteger', ''],
    ['positiveInteger', 'many'],
    ['wholeNumber', '-1'],
    ['wholeNumber', ''],
    ['wholeNumber', '4294967296'],
    ['nonNegative', '-0.1'],
    ['nonNegative', ' '],
    ['nonNegative', 'NaN'],
    ['nonNegative', 'Infinity'],
    ['oneOf', 'c'],
  ])('%s refuses "%s"', (parser, text) => {
    expect(() => parsers[parser]?.(text)).toThrow(/usage\/option[^]*--x/);
  });
});

describe('--input-shape', () => {
  test('repeats; names may hold colons', () => {
    const one = inputShape('input:0:1,3,8,8');
    expect([...inputShape('mask:1,8', one)]).toEqual([
      ['input:0', [1, 3, 8, 8]],
      ['mask', [1, 8]],
    ]);
  });
  test.each(['1,3,8,8', ':1,3', 'x:', 'x:1,y', 'x:0', 'x:1.5', 'x'])('refuses "%s"', (text) => {
    expect(() => inputShape(text)).toThrow(/--input-shape/);
  });
});
