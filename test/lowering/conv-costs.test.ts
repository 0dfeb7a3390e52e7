// The cost of a form: the table has what the forms count, no more, and it and the estimates choose as they are known to.

import { describe, expect, test } from 'vitest';
import { GEOMETRIES } from '../../bench/lib/conv-geometries.js';
import { CONV_COSTS } from '../../src/lowering/conv-costs.js';
import { chooseForm, weigh } from '../../src/lowering/conv-form.js';
import { products } from '../../src/lowering/conv-terms.js';
import { WEIGHT_FORMS } from '../../src/lowering/conv-weight.js';
import { INPUT_FORMS } from '../../src/lowering/conv.js';
import { CONV_CASES, caseGeometry } from '../../src/ops/conv-cases.js';
import type { ConvGeometry } from '../../src/ops/conv-geometry.js';

const all: readonly ConvGeometry[] = [...CONV_CASES.map(caseGeometry), ...GEOMETRIES.values()];
const measured = [...INPUT_FORMS, ...WEIGHT_FORMS].filter((form) => form.terms);

test('the table has every form of target cpu, and no other', () => {
  expect(Object.keys(CONV_COSTS.forms).sort()).toEqual(measured.map((form) => form.name).sort());
});

describe.each(measured.map((form) => [form.name, form] as const))('%s', (name, form) => {
  const coefficients = CONV_COSTS.forms[name] ?? {};
  const counted = all.filter((g) => form.applies(g)).map((g) => form.terms?.(g) ?? {});

  test('counts the terms of its coefficients, whatever the geometry', () => {
    expect(counted.length).toBeGreaterThan(3);
    for (const terms of counted) {
      expect(Object.keys(terms).sort()).toEqual(Object.keys(coefficients).sort());
      for (const count of Object.values(terms)) {
        expect(Number.isFinite(count)).toBe(true);
        expect(count).toBeGreaterThanOrEqual(0);
      }
    }
  });

  test('has coefficients that give every geometry a time', () => {
    for (const value of Object.values(coefficients)) expect(value).toBeGreaterThanOrEqual(0);
    for (const terms of counted) expect(weigh(terms, coefficients)).toBeGreaterThan(0);
  });
});

test('a form without coefficients cannot be chosen unnoticed', () => {
  const [g] = all;
  if (!g) throw new Error('no geometry');
  expect(() => chooseForm(INPUT_FORMS, 'cpu', g, { flipped: {} })).toThrow('has no coefficients');
});

test('the last columns of a product cost as much as a full set', () => {
  expect(products(2, [3, 5, 17])).toEqual({
    work: 2 * 3 * 5 * 32,
    packed: 2 * 5 * 17,
    products: 2,
  });
});

/** The estimates for devices that nothing was measured on: as they have been since before there was a table. */
test.each([
  ['128x3x32x32 → 16, 3x3', 'flipped', 'taps'],
  ['128x16x32x32 → 32, 3x3, stride 2', 'transposed', 'taps-joined'],
  ['128x32x16x16 → 32, 3x3', 'flipped', 'taps-joined'],
  ['128x16x32x32 → 32, 1x1, stride 2', 'transposed', 'pointwise'],
  ['128x32x16x16 → 64, 1x1, stride 2', 'transposed', 'pointwise'],
  ['128x8x32x32 → 8, 3x3', 'flipped', 'taps'],
  ['128x256x8x8 → 64, 1x1', 'flipped', 'pointwise-joined'],
  ['16x3x224x224 → 64, 7x7, stride 2', 'transposed', 'taps'],
  ['16x64x56x56 → 64, 3x3', 'flipped', 'taps'],
  ['16x64x56x56 → 128, 3x3, stride 2', 'transposed', 'taps-joined'],
  ['16x512x7x7 → 512, 3x3', 'flipped', 'taps-joined'],
  ['16x64x56x56 → 256, 1x1', 'flipped', 'pointwise'],
  ['16x512x28x28 → 128, 1x1', 'flipped', 'pointwise-joined'],
  ['16x512x7x7 → 2048, 1x1', 'flipped', 'pointwise-joined'],
  ['8x128x56x56 → 128, 3x3, 32 groups', 'flipped', 'taps'],
  ['8x256x56x56 → 256, 3x3, stride 2, 32 groups', 'transposed', 'taps'],
  ['8x32x112x112 → 32, 3x3, 32 groups', 'flipped', 'per-channel-taps'],
  ['8x96x112x112 → 96, 3x3, stride 2, 96 groups', 'transposed', 'per-channel-taps'],
  ['8x96x56x56 → 96, 7x7, 96 groups', 'flipped', 'per-channel-taps'],
  ['1x64x56x56 → 64, 3x3', 'flipped', 'taps'],
  ['1x256x14x14 → 256, 3x3', 'flipped', 'taps-joined'],
  ['1x256x56x56 → 64, 1x1', 'flipped', 'pointwise'],
  ['8x1024x14x14 → 256, 1x1', 'flipped', 'pointwise-joined'],
  ['32x32x14x14 → 64, 5x5', 'flipped', 'taps-joined'],
  ['128x1x28x28 → 6, 5x5', 'flipped', 'taps'],
  ['8x240x28x28 → 240, 1x1, 3 groups', 'flipped', 'pointwise'],
  ['16x3x224x224 → 192, 16x16, stride 16, pad 0', 'transposed', 'taps-joined'],
] as const)('target portable: %s', (name, dX, dW) => {
  const g = GEOMETRIES.get(name);
  if (!g) throw new Error(`no geometry ${name}`);
  expect(chooseForm(INPUT_FORMS, 'portable', g).name).toBe(dX);
  expect(chooseForm(WEIGHT_FORMS, 'portable', g).name).toBe(dW);
});
