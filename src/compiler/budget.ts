// A step that recomputes no more than its memory makes it. In: a coupled network, bytes. Out: its step with as many interiors
// stored as fit, those first whose recompute costs most for the memory they take. Invariant: what is handed back has been
// built and simulated, and fits; which units it stores is written in its settings, so that the same step can be built again.

import type { Settings } from '../../passes/index.js';
import { DiagnosticError } from '../diagnostics/index.js';
import { byteSize } from '../ir/index.js';
import type { Node } from '../ir/index.js';
import { findOp, inferContext } from '../ops/index.js';
import { interiorBytes } from '../schedule/index.js';
import type { ScheduledUnit } from '../schedule/index.js';
import { stepMemory } from './memory.js';
import type { StepBuild } from './step.js';

/** Bytes that training may take; free: those that it takes with nothing stored, and a little. */
export type Budget = number | 'free';

/** What is stored may change the gaps between tensors by so much. */
const LITTLE = 1.03;

/** After the longest beginning of the list that fits, this often one is left out and the rest looked at again. */
const ROUNDS = 3;

/**
 * @param budget for everything a training holds: weights, the optimizer's tensors, a batch, and the step's peak above them
 * @param units of the forward pass, with nothing stored for the budget
 * @throws DiagnosticError memory/budget where even with nothing stored it does not fit
 */
export function fitBudget(
  settings: Settings,
  budget: Budget,
  units: readonly ScheduledUnit[],
  build: (settings: Settings) => StepBuild,
): StepBuild {
  const least = build({ ...settings, stored: [] });
  const needed = trainingBytes(least);
  const limit = budget === 'free' ? LITTLE * needed : budget;
  if (needed > limit)
    throw new DiagnosticError(
      'memory/budget',
      `batch ${settings.batch}`,
      `a training step takes at least ${megabytes(needed)}, the budget is ${megabytes(limit)}`,
    );
  let best = least;
  let stored: readonly string[] = [];
  const fits = (ids: readonly string[]): boolean => {
    const step = build({ ...settings, stored: ids });
    if (trainingBytes(step) > limit) return false;
    best = step;
    return true;
  };
  let rest = inOrderOfGain(units);
  for (let round = 0; round < ROUNDS && rest.length > 0; round++) {
    const count = longest(rest.length, (n) => fits([...stored, ...rest.slice(0, n)]));
    stored = [...stored, ...rest.slice(0, count)];
    rest = rest.slice(count + 1);
  }
  return best;
}

/** The largest number up to `most` that holds, if all below one that holds do; 0 is not tried. */
function longest(most: number, holds: (count: number) => boolean): number {
  if (holds(most)) return most;
  let [good, bad] = [0, most];
  while (bad - good > 1) {
    const middle = (good + bad) >> 1;
    if (holds(middle)) good = middle;
    else bad = middle;
  }
  return good;
}

const megabytes = (bytes: number): string => `${(bytes / 1e6).toFixed(1)} MB`;

function trainingBytes({ state }: StepBuild): number {
  let sum = stepMemory(state).peakBytes;
  for (const { type } of state.model.graph.inputs) sum += (type && byteSize(type)) ?? 0;
  return sum;
}

/** Units whose interior is not stored anyway, by the arithmetic their recompute takes for each byte of it. */
function inOrderOfGain(units: readonly ScheduledUnit[]): string[] {
  return units
    .filter(({ policy }) => policy !== 'store')
    .map(({ id, nodes }, index) => {
      const gain = flopsOf(nodes) / Math.max(interiorBytes(nodes), 1);
      return { id, index, gain };
    })
    .sort((a, b) => b.gain - a.gain || b.index - a.index)
    .map(({ id }) => id);
}

const flopsOf = (nodes: readonly Node[]): number =>
  nodes.reduce((sum, node) => sum + (findOp(node)?.flops?.(inferContext(node)) ?? 0), 0);
