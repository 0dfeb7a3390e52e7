// Where the batch goes in a change of layout that was exported for one batch size. In: the operand's shape with the
// symbol of the batch, the target in plain numbers. Out: the axis of the target that grows with the batch. Invariant: a
// guess among several axes prefers the one that spells the batch size itself, then the outermost.

import type { Dim, Shape } from '../ir/index.js';

const factors = (dim: Dim): string[] => String(dim).split('*');

/** The extent for one batch size; undefined where another symbol is in it. */
export function extentAt(dim: Dim, symbol: string, batch: number): number | undefined {
  let product = 1;
  for (const factor of factors(dim)) product *= factor === symbol ? batch : Number(factor);
  return Number.isNaN(product) ? undefined : product;
}

/**
 * @param target every extent spelled
 * @returns undefined when the batch is in no axis of the operand, in several, or the shapes do not fit
 */
export function batchAxis(
  from: Shape,
  target: readonly number[],
  symbol: string,
  batch: number,
): number | undefined {
  const places = from.flatMap((dim, axis) => (factors(dim).includes(symbol) ? [axis] : []));
  const extents = from.map((dim) => extentAt(dim, symbol, batch));
  const [place] = places;
  if (place === undefined || places.length > 1) return undefined;
  // Stretches of axes of one size on both sides; the batch stays within its stretch.
  for (let [i, j] = [0, 0]; i < from.length && j < target.length;) {
    const [startI, startJ] = [i, j];
    let [left, right] = [extents[i++] ?? NaN, target[j++] ?? NaN];
    while (left !== right) {
      if (left < right && i < extents.length) left *= extents[i++] ?? NaN;
      else if (right < left && j < target.length) right *= target[j++] ?? NaN;
      else return undefined;
    }
    const last = i >= extents.length || j >= target.length;
    const [endI, endJ] = last ? [extents.length, target.length] : [i, j];
    if (place < startI || place >= endI) continue;
    const axes = Array.from({ length: endJ - startJ }, (_, k) => startJ + k);
    const spelled = axes.filter((axis) => target[axis] === batch);
    if (spelled.length > 0) return spelled.includes(place) ? place : spelled[0];
    return (
      axes.find((axis) => target[axis] === extents[place]) ??
      axes.find((axis) => (target[axis] ?? 1) % batch === 0)
    );
  }
  return undefined;
}
