// The cost model of src/lowering/conv-terms.ts, fitted to times. In: milliseconds of forms on geometries. Out: nanoseconds per
// unit of each term, and how good the choices are that follow from them. Invariant: no coefficient is negative; every
// geometry counts the same, however small it is, since what is squared is the relative error.

import { chooseForm, weigh } from '../../src/lowering/conv-form.js';
import type { ConvForm } from '../../src/lowering/conv-form.js';
import type { FormCosts, Term, Terms } from '../../src/lowering/conv-terms.js';
import type { ConvGeometry } from '../../src/ops/conv-geometry.js';
import { nonNegativeLeastSquares } from './nnls.js';

/** What was measured on one geometry, in milliseconds. */
export interface Row {
  readonly name: string;
  readonly geometry: ConvGeometry;
  readonly times: Readonly<Record<string, number>>;
}

/** One form on one geometry. */
export interface Observation {
  readonly terms: Terms;
  readonly milliseconds: number;
}

const NANO_PER_MILLI = 1e6;

/** Non-negative least squares on relative errors. */
export function fitTerms(observations: readonly Observation[]): Terms {
  const names = Object.keys(observations[0]?.terms ?? {}) as Term[];
  const columns = names.map((name) =>
    observations.map(
      ({ terms, milliseconds }) => (terms[name] ?? 0) / (milliseconds * NANO_PER_MILLI),
    ),
  );
  const solution = nonNegativeLeastSquares(
    columns,
    observations.map(() => 1),
  );
  return Object.fromEntries(
    names.map((name, j) => [name, Number((solution[j] ?? 0).toPrecision(4))]),
  );
}

/** Coefficients of all forms. */
export const fitForms = (forms: readonly ConvForm[], rows: readonly Row[]): FormCosts =>
  Object.fromEntries(
    forms.map((form) => [
      form.name,
      fitTerms(
        rows.flatMap(({ geometry, times }) => {
          const milliseconds = times[form.name];
          const terms = form.terms?.(geometry);
          return milliseconds !== undefined && terms ? [{ terms, milliseconds }] : [];
        }),
      ),
    ]),
  );

export interface Choice {
  readonly form: string;
  /** Its time over that of the fastest form. */
  readonly ratio: number;
}

/** What a table makes of one geometry. A form that it has no coefficients for, since it or its terms are new, is not chosen. */
export function judge(forms: readonly ConvForm[], row: Row, costs: FormCosts): Choice {
  const known = forms.filter(
    ({ name, terms }) =>
      row.times[name] !== undefined && terms && weigh(terms(row.geometry), costs[name]) >= 0,
  );
  const form = known.length > 0 ? chooseForm(known, 'cpu', row.geometry, costs).name : 'none';
  return { form, ratio: (row.times[form] ?? NaN) / Math.min(...Object.values(row.times)) };
}

export interface Judged {
  readonly row: Row;
  readonly best: string;
  /** By the table that the compiler has. */
  readonly present: Choice;
  /** By the new fit. */
  readonly fitted: Choice;
  /** By a fit that never saw this geometry. */
  readonly unseen: Choice;
}

export function judgeAll(
  forms: readonly ConvForm[],
  rows: readonly Row[],
  present: FormCosts,
): { readonly costs: FormCosts; readonly judged: readonly Judged[] } {
  const costs = fitForms(forms, rows);
  const judged = rows.map((row): Judged => {
    const others = fitForms(
      forms,
      rows.filter((other) => other !== row),
    );
    const [best = ''] = Object.keys(row.times).sort(
      (a, b) => (row.times[a] ?? 0) - (row.times[b] ?? 0),
    );
    return {
      ...{ row, best },
      present: judge(forms, row, present),
      fitted: judge(forms, row, costs),
      unseen: judge(forms, row, others),
    };
  });
  return { costs, judged };
}

export interface Summary {
  /** Those that a form was chosen for. */
  readonly geometries: number;
  /** Choices that are at most so much slower than the best: NEAR. */
  readonly near: number;
  readonly worst: number;
  /** Geometric mean of the ratios. */
  readonly mean: number;
}

/** About the noise of a measurement. */
export const NEAR = 1.12;

export function summarize(choices: readonly Choice[]): Summary {
  const ratios = choices.map((choice) => choice.ratio).filter((ratio) => ratio >= 1);
  return {
    geometries: ratios.length,
    near: ratios.filter((ratio) => ratio <= NEAR).length,
    worst: Math.max(...ratios),
    mean: Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio), 0) / ratios.length),
  };
}
