// Tables that whole numbers are looked up in. In: an input of token numbers. Out: how many rows there are. Invariant:
// numbers from 0 up to, not including, that many are in range wherever the input is looked up.

import type { Value } from '../ir/index.js';

/** What hands numbers on as they are. */
const CARRIERS: ReadonlySet<string> = new Set([
  ...['Cast', 'Flatten', 'Identity', 'Reshape', 'Squeeze', 'Unsqueeze'],
]);

/** @returns rows of the smallest table (embedding) that the numbers are looked up in; undefined: they are in none */
export function tableSize(ids: Value): number | undefined {
  const rows = ids.users.flatMap((user): number[] => {
    if (user.domain !== '') return [];
    if (user.op === 'Gather' && user.inputs[1] === ids) {
      const { shape } = user.input(0);
      const axis = user.attributes.int('axis', 0);
      const extent = shape?.[axis < 0 ? axis + shape.length : axis];
      return typeof extent === 'number' ? [extent] : [];
    }
    if (!CARRIERS.has(user.op) || user.inputs[0] !== ids) return [];
    return [tableSize(user.output()) ?? Infinity];
  });
  const least = Math.min(...rows);
  return Number.isFinite(least) ? least : undefined;
}
