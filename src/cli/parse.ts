// Option values. In: strings from the command line. Out: typed values. Invariant: a value that cannot be used is
// refused here, by name, before any work is done.

import { DiagnosticError } from '../diagnostics/index.js';

const refuse = (option: string, value: string, wanted: string): never => {
  throw new DiagnosticError('usage/option', option, `"${value}" is not ${wanted}`);
};

export const positiveInteger =
  (option: string) =>
  (value: string): number => {
    const n = Number(value);
    return Number.isSafeInteger(n) && n > 0 ? n : refuse(option, value, 'a positive whole number');
  };

export const wholeNumber =
  (option: string) =>
  (value: string): number => {
    const n = Number(value);
    return value.trim() !== '' && Number.isSafeInteger(n) && n >= 0 && n < 2 ** 32
      ? n
      : refuse(option, value, 'a whole number from 0 on');
  };

export const wholeOrNegative =
  (option: string) =>
  (value: string): number => {
    const n = Number(value);
    return value.trim() !== '' && Number.isSafeInteger(n) && Math.abs(n) < 2 ** 31
      ? n
      : refuse(option, value, 'a whole number');
  };

export const nonNegative =
  (option: string) =>
  (value: string): number => {
    const n = Number(value);
    return value.trim() !== '' && Number.isFinite(n) && n >= 0
      ? n
      : refuse(option, value, 'a number from 0 on');
  };

/** From 0 up to, not including, 1. */
export const fraction =
  (option: string) =>
  (value: string): number => {
    const n = Number(value);
    return value.trim() !== '' && n >= 0 && n < 1
      ? n
      : refuse(option, value, 'a number from 0 up to, not including, 1');
  };

export const oneOf =
  <T extends string>(option: string, values: readonly T[]) =>
  (value: string): T =>
    values.find((v) => v === value) ?? refuse(option, value, `one of ${values.join(', ')}`);

const UNITS: Readonly<Record<string, number>> = {
  ...{ B: 1, kB: 1e3, KB: 1e3, MB: 1e6, GB: 1e9 },
  ...{ KiB: 2 ** 10, MiB: 2 ** 20, GiB: 2 ** 30 },
};

/** "8GB", "500 MB", "1.5GiB", or "free". */
export const budget =
  (option: string) =>
  (value: string): number | 'free' => {
    if (value === 'free') return value;
    const [, amount, unit = 'B'] = /^([0-9.]+) ?([A-Za-z]*)$/.exec(value.trim()) ?? [];
    const bytes = Number(amount) * (UNITS[unit === '' ? 'B' : unit] ?? NaN);
    return bytes >= 1 && Number.isFinite(bytes)
      ? Math.floor(bytes)
      : refuse(option, value, 'an amount of memory such as 8GB, 500MB or 1.5GiB, or free');
  };

/** "input:1,3,224,224", repeatable. */
export function inputShape(
  value: string,
  previous: ReadonlyMap<string, readonly number[]> = new Map(),
): ReadonlyMap<string, readonly number[]> {
  const split = value.lastIndexOf(':');
  const dims = value
    .slice(split + 1)
    .split(',')
    .map(Number);
  if (split <= 0 || !dims.every((d) => Number.isSafeInteger(d) && d > 0))
    refuse('--input-shape', value, 'of the form name:d,d,…');
  return new Map([...previous, [value.slice(0, split), dims]]);
}
