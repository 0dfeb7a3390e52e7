// What happens to each unit's interior between forward and backward. In: units, the policy asked for. Out: one
// policy per unit, with its reason. Invariant: only couplings can be reversed.

import type { Unit } from './units.js';

/** reverse: interior and input recomputed from the outputs. recompute: interior recomputed from the stored
 * input. store: interior kept. */
export type Policy = 'reverse' | 'store' | 'recompute';

export interface ScheduledUnit extends Unit {
  readonly policy: Policy;
  readonly reason: string;
}

const REASONS: Readonly<Record<Unit['kind'], string>> = {
  stem: 'not a residual block: its input is at hand, its interior is recomputed',
  coupling: 'half-coupling: input and interior are recomputed from the two streams',
  block: 'residual block outside a chain: its input is stored, its interior recomputed',
  transition:
    'changes the shape, so it has no inverse: what it reads is stored, its interior recomputed',
  plain: 'not a residual block: its input is stored, its interior recomputed',
  head: 'last before the loss: its interior is needed at once',
};

/**
 * Assigns a policy to every unit; `wanted` applies to couplings and, unless `store`, leaves the rest checkpointed.
 * @param stored units to store whatever is wanted
 */
export function assignPolicies(
  units: readonly Unit[],
  wanted: Policy,
  stored: ReadonlySet<string>,
): ScheduledUnit[] {
  const lastBody = units.findLastIndex((unit) => unit.kind !== 'head');
  return units.map((unit, index): ScheduledUnit => {
    if (wanted === 'store')
      return { ...unit, policy: 'store', reason: 'asked for: every interior is stored' };
    if (unit.kind === 'head') return { ...unit, policy: 'store', reason: REASONS.head };
    if (index === lastBody && unit.kind !== 'stem')
      return {
        ...unit,
        policy: 'store',
        reason:
          'last block before the head: its interior is still at hand, storing it costs no peak',
      };
    if (stored.has(unit.id))
      return { ...unit, policy: 'store', reason: 'there is memory for it in the budget' };
    if (unit.kind === 'coupling' && wanted === 'reverse')
      return { ...unit, policy: 'reverse', reason: REASONS.coupling };
    const reason =
      unit.kind === 'coupling'
        ? 'asked for: checkpointed, its input is stored'
        : REASONS[unit.kind];
    return { ...unit, policy: 'recompute', reason };
  });
}
