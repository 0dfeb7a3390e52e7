// A very deep step cut into segments: what is run one after another, so that equal segments are loaded once. In: phase and unit
// of each node, in the order they run. Out: the number of each node's segment. Invariant: a segment is a stretch of
// consecutive nodes, so segments can run in the order of their numbers. Compiler and runtime cut alike.
//
// A segment is the forward pass of a unit, or its whole backward pass: recompute, gradients and updates take turns and
// share the unit's interior. What belongs to no unit (losses, tokens, statistics), and updates, run with what was before
// them; a long row of them is cut into equal pieces.

import type { PlanStep } from './types.js';

/**
 * From so many nodes on. Below, one session is loaded in a few seconds, works faster on large tensors and holds less; at
 * 40,000 nodes (560 layers) what it needs to keep track of them outweighs what passes between segments.
 */
const MANY = 40_000;

/** Whether a step is run segment by segment, where a runtime can. */
export const isSegmented = (nodes: number): boolean => nodes >= MANY;

/** What nodes without a unit belong to. */
export const LOSS_UNIT = 'loss';

/** Rows of equal updates have 1 to 6, 8, 10 or 12 nodes each: pieces of so many begin alike. */
const PIECE = 240;

type Label = Pick<PlanStep, 'phase' | 'unit'>;

/** @param labels of the nodes in the order they run */
export function cutSegments(labels: readonly Label[]): Int32Array {
  const known = new Map<string, number>();
  /** By segment: whether it is one with the segment before it. */
  const continues: boolean[] = [];
  let loose = 0;
  const cut = labels.map((label) => {
    if (isLoose(label)) {
      if (continues.length === 0 || ++loose % PIECE === 0) continues.push(false);
      return continues.length - 1;
    }
    loose = 0;
    const key = `${label.phase === 'forward' ? 'forward' : 'backward'} ${label.unit}`;
    const own = known.get(key);
    if (own === undefined) {
      known.set(key, continues.length);
      continues.push(false);
    } // A unit that is not done when another begins takes turns with it.
    else continues.fill(true, own + 1);
    return continues.length - 1;
  });
  let next = -1;
  const numbers = continues.map((isSame) => (isSame ? next : ++next));
  return Int32Array.from(cut, (segment) => numbers[segment] ?? 0);
}

const isLoose = ({ phase, unit }: Label): boolean => phase === 'update' || unit === LOSS_UNIT;
