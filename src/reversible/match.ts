// Inner widths that bring a converted network to a wanted size. In: the widths that may change, what each width costs.
// Out: extents. Invariant: all widths are scaled by one factor; what rounding takes from one it gives to the next.

import type { Value } from '../ir/index.js';
import type { AxisClass } from '../analysis/index.js';
import { wholeGroups } from './partition.js';
import type { Widths } from './partition.js';

/** What a converted network is brought to the original's amount of. */
export const MATCHES = ['params', 'flops', 'none'] as const;
export type Match = (typeof MATCHES)[number];

/** A term of the total: a weight, or a node with its weight. It grows with the product of these extents. */
export interface Term {
  /** At the extents of now. */
  readonly amount: number;
  readonly weight: Value;
}

export interface Matched {
  readonly widths: ReadonlyMap<AxisClass, number>;
  readonly total: number;
}

const LARGEST_FACTOR = 16;
const BISECTIONS = 40;
/** Widths that vector units like are preferred while the total stays this close to the target. */
const UNITS = [8, 4, 2, 1];
const CLOSE = 0.005;

export function matchWidths(
  { classes, fixed, axes }: Widths,
  terms: readonly Term[],
  target: number,
): Matched {
  const ratios = terms.map(({ weight }) =>
    (weight.shape ?? []).map((extent, axis) => {
      const axisClass = axes.of(weight, axis);
      return { axisClass, extent: typeof extent === 'number' ? extent : 1 };
    }),
  );
  const totalOf = (widths: ReadonlyMap<AxisClass, number>): number =>
    terms.reduce(
      (sum, { amount }, index) =>
        sum +
        (ratios[index] ?? []).reduce((product, { axisClass, extent }) => {
          const now = axisClass && (widths.get(axisClass) ?? fixed.get(axisClass)?.length);
          return now === undefined ? product : (product * now) / extent;
        }, amount),
      0,
    );
  const scaled = (factor: number, unit: number): Map<AxisClass, number> => {
    const widths = new Map<AxisClass, number>();
    let carry = 0;
    for (const axisClass of classes) {
      const wanted = factor * Number(axisClass.extent) + carry;
      const extent = wholeGroups(wanted, multipleOf(axisClass.multiple, unit));
      carry = wanted - extent;
      widths.set(axisClass, extent);
    }
    return widths;
  };
  let best: Matched | undefined;
  const gap = ({ total }: Matched): number => Math.abs(total - target) / target;
  for (const unit of UNITS) {
    let [low, high] = [0, LARGEST_FACTOR];
    for (let i = 0; i < BISECTIONS; i++) {
      const factor = (low + high) / 2;
      const widths = scaled(factor, unit);
      const found = { widths, total: totalOf(widths) };
      if (!best || gap(found) < gap(best)) best = found;
      if (found.total > target) high = factor;
      else low = factor;
    }
    if (best && gap(best) <= CLOSE) break;
  }
  return best ?? { widths: new Map(), total: totalOf(new Map()) };
}

/** The least multiple of `unit` that is a whole number of groups of `multiple`. */
function multipleOf(multiple: number, unit: number): number {
  let common = multiple;
  while (common % unit !== 0) common += multiple;
  return common;
}
