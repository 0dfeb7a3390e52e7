// The fit behind the costs of convolution gradients: what it finds in times that are known, and what it makes of those that
// were measured.

import { readFileSync } from 'node:fs';
import { describe, expect, it } from 'vitest';
import { fitForms, fitTerms, judgeAll, summarize } from '../../bench/lib/conv-fit.js';
import type { Row } from '../../bench/lib/conv-fit.js';
import { GEOMETRIES } from '../../bench/lib/conv-geometries.js';
import { FORMS, GRADIENTS, rowsOf } from '../../bench/lib/conv-times.js';
import type { Measured } from '../../bench/lib/conv-times.js';
import { nonNegativeLeastSquares } from '../../bench/lib/nnls.js';
import { CONV_COSTS } from '../../src/lowering/conv-costs.js';
import { weigh } from '../../src/lowering/conv-form.js';
import type { Term, Terms } from '../../src/lowering/conv-terms.js';
import { Random } from '../../src/ops/index.js';

describe('nonNegativeLeastSquares', () => {
  it('solves what has a solution', () => {
    const x = nonNegativeLeastSquares(
      [
        [1, 1000, 0],
        [1, 0, 3],
      ],
      [2.5, 2000, 1.5],
    );
    expect(x[0]).toBeCloseTo(2, 9);
    expect(x[1]).toBeCloseTo(0.5, 9);
  });

  it('holds at 0 what would be negative, and fits the others without it', () => {
    // The example of Lawson and Hanson's successors: unconstrained, the last one is −0.18.
    const x = nonNegativeLeastSquares(
      [
        [1, 10, -1, -5],
        [1, 11, 0, 6],
        [2, -9, 0, -7],
      ],
      [-1, 11, 0, 1],
    );
    expect(x.map((v) => Number(v.toFixed(4)))).toEqual([0.461, 0.5611, 0]);
  });

  it('finds one of many minima where columns depend on each other, and 0 for a column of zeros', () => {
    const [a = NaN, b = NaN, c = NaN] = nonNegativeLeastSquares(
      [
        [1, 2],
        [2, 4],
        [0, 0],
      ],
      [3, 6],
    );
    expect(a + 2 * b).toBeCloseTo(3, 9);
    expect(c).toBe(0);
  });
});

describe('fitTerms', () => {
  const truth: Terms = { work: 0.03, packed: 0.5, kernels: 20_000 };
  const random = new Random(3);
  const terms = Array.from({ length: 40 }, (): Terms => {
    const [rows, rest] = [2 ** (1 + 8 * random.uniform()), 10 ** (4 + 3 * random.uniform())];
    return { work: rows * rest, packed: rest, kernels: 1 + Math.floor(9 * random.uniform()) };
  });

  it('finds the coefficients that times were made with', () => {
    const found = fitTerms(terms.map((t) => ({ terms: t, milliseconds: weigh(t, truth) / 1e6 })));
    for (const [term, value] of Object.entries(truth) as [Term, number][])
      expect((found[term] ?? NaN) / value).toBeCloseTo(1, 3);
  });

  it('lets a small geometry count as much as a large one', () => {
    // One term cannot give both times: the relative errors are made equal, the absolute ones are not.
    const { work = NaN } = fitTerms([
      { terms: { work: 1e6 }, milliseconds: 1 },
      { terms: { work: 1e9 }, milliseconds: 2000 },
    ]);
    // The minimum of (x − 1)² + (x/2 − 1)² is at 6/5.
    expect(work).toBeCloseTo(1.2, 3);
  });
});

describe('judgeAll', () => {
  it('chooses the fastest form of every geometry where times follow the model', () => {
    const truth = fitForms(FORMS.dW, measuredRows('dW'));
    const rows = [...GEOMETRIES].map(([name, geometry]): Row => {
      const times = FORMS.dW
        .filter((form) => form.applies(geometry))
        .map((form) => [form.name, weigh(form.terms?.(geometry) ?? {}, truth[form.name]) / 1e6]);
      return { name, geometry, times: Object.fromEntries(times) as Record<string, number> };
    });
    const { judged } = judgeAll(FORMS.dW, rows, truth);
    expect(summarize(judged.map((j) => j.present)).worst).toBe(1);
    expect(summarize(judged.map((j) => j.fitted)).worst).toBeLessThan(1.01);
    expect(summarize(judged.map((j) => j.unseen)).near).toBeGreaterThan(rows.length - 6);
  });

  it('keeps a geometry out of the fit that is to tell its form', () => {
    const rows = measuredRows('dW').filter(({ geometry: g }) => g.group === 1 || g.group === 96);
    const [first, ...rest] = rows.filter(({ geometry: g }) => g.group === 96);
    const others = rows.filter((row) => !rest.includes(row) && row.geometry.inChannels > 1);
    const { judged } = judgeAll(FORMS.dW, others, {});
    const { fitted, unseen, present } = judged.find(({ row }) => row === first) ?? {};
    // No other geometry says how long this form takes, and an empty table says nothing.
    expect(fitted?.form).toBe('per-channel');
    expect(unseen?.form).not.toBe('per-channel');
    expect(present).toEqual({ form: 'none', ratio: NaN });
  });

  it('counts what is slower than the best', () => {
    expect(summarize([1, 1, 1.1, 8].map((ratio) => ({ form: '', ratio })))).toEqual({
      geometries: 4,
      near: 3,
      worst: 8,
      mean: expect.closeTo(8.8 ** 0.25, 9) as number,
    });
  });
});

const results = JSON.parse(
  readFileSync(new URL('../../bench/results/ops.json', import.meta.url), 'utf8'),
) as Measured;

function measuredRows(gradient: (typeof GRADIENTS)[number]): Row[] {
  return rowsOf(results, gradient);
}

describe('the table that is checked in', () => {
  it.each(GRADIENTS)('is the fit of the times that are checked in: %s', (gradient) => {
    const rows = measuredRows(gradient);
    expect(rows.map((row) => row.name)).toEqual([...GEOMETRIES.keys()]);
    expect(CONV_COSTS).toMatchObject({
      measured: results.measured,
      forms: fitForms(FORMS[gradient], rows),
    });
  });
});
