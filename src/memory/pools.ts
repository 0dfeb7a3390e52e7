// Gaps for small tensors in the block of a memory pattern. In: a simulated step that begins with pools. Out: how large the
// pools are to be. Invariant: the block is then the smallest of those that were tried.
//
// The pattern's planner (pattern.ts) puts each tensor into the smallest gap that it fits into. A small tensor for which
// there is no small gap goes into a large one, and the next large tensor no longer fits there: a ResNet-18's block is 40 %
// larger than what is alive. A pool is a tensor of the step's first moments that is free again at once, with a tiny wall
// behind it that stays to the end: it leaves a gap that only small tensors fit into. Which sizes serve best is found by
// trying.

import type { Value } from '../ir/index.js';
import type { Execution } from './executor.js';
import { layOut } from './pattern.js';
import { profile } from './profile.js';

/** A pool that is as good as none. */
const NONE = 256;
/** Bytes of a pool to try. */
const SIZES = [NONE, 16e3, 64e3, 256e3, 1e6, 2e6, 4e6, 8e6, 16e6, 32e6];
/** Of the block; a pool is filled with zeros in every step. */
const LARGEST_SHARE = 1 / 8;
/** A block that is larger than what is alive by less is good enough. */
const SMALL_LOSS = 0.01;
/** Nodes that all tries together may visit: a fraction of a second. */
const EFFORT = 600e3;

/** Whether a block laid out as the pattern does it loses too little for pools to help. */
export const isTight = (execution: Execution, bytes: number): boolean =>
  bytes <= (1 + SMALL_LOSS) * profile(execution, () => 'activation').activationBytes;

/** Sizes for a number of pools, from the largest to the smallest; those that differ least from no pools first. */
function sizesOf(count: number, largest: number): number[][] {
  if (count === 0) return [[]];
  return sizesOf(count - 1, largest).flatMap((sizes) =>
    SIZES.filter((size) => size <= (sizes.at(-1) ?? largest)).map((size) => [...sizes, size]),
  );
}

const used = (sizes: readonly number[]): number => sizes.filter((size) => size > NONE).length;

/**
 * @param pools tensors that the step begins with, in the order they are made in
 * @returns bytes of each
 */
export function findPools(execution: Execution, pools: readonly Value[]): readonly number[] {
  const tries = Math.ceil(EFFORT / Math.max(1, execution.order.length));
  let best: readonly number[] = pools.map(() => NONE);
  let bytes = Infinity;
  for (const sizes of sizesOf(pools.length, LARGEST_SHARE * layOut(execution))
    .sort((a, b) => used(a) - used(b))
    .slice(0, tries)) {
    const tried = layOut(execution, new Map(pools.map((pool, at) => [pool, sizes[at] ?? 0])));
    if (tried >= bytes) continue;
    best = sizes;
    bytes = tried;
    if (isTight(execution, bytes)) break;
  }
  return best;
}
