// Products and quotients of extents that may be symbols. In: dimensions. Out: a dimension in normal form
// (coefficient first, then symbols in order, "4*N*S"), so that equal products are equal strings. Invariant:
// what cannot be expressed exactly is undefined, never guessed.

import type { Dim } from '../ir/index.js';

interface Monomial {
  coefficient: number;
  readonly symbols: string[];
}

function parse(dims: readonly Dim[]): Monomial {
  const result: Monomial = { coefficient: 1, symbols: [] };
  for (const dim of dims)
    for (const factor of typeof dim === 'number' ? [dim] : dim.split('*')) {
      const value =
        typeof factor === 'number' ? factor : /^\d+$/.test(factor) ? Number(factor) : NaN;
      if (Number.isNaN(value)) result.symbols.push(String(factor));
      else result.coefficient *= value;
    }
  result.symbols.sort();
  return result;
}

function print({ coefficient, symbols }: Monomial): Dim {
  if (symbols.length === 0 || coefficient === 0) return coefficient;
  return [...(coefficient === 1 ? [] : [String(coefficient)]), ...symbols].join('*');
}

/** The product of dimensions. */
export const multiplyDims = (dims: readonly Dim[]): Dim => print(parse(dims));

/** a / b where that is exact whatever the symbols stand for (extents above 0); else undefined. */
export function divideDims(a: Dim, b: Dim): Dim | undefined {
  const over = parse([a]);
  const under = parse([b]);
  if (under.coefficient === 0 || over.coefficient % under.coefficient !== 0) return undefined;
  for (const symbol of under.symbols) {
    const index = over.symbols.indexOf(symbol);
    if (index < 0) return undefined;
    over.symbols.splice(index, 1);
  }
  return print({ coefficient: over.coefficient / under.coefficient, symbols: over.symbols });
}
