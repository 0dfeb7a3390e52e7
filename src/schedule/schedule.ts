// The schedule of a network: its units and what becomes of each. In: a graph with its loss, coupled chains, the policy
// asked for. Out: units in execution order. Invariant: whoever schedules the same graph gets the same units.

import { findResidualBlocks } from '../analysis/index.js';
import type { Graph } from '../ir/index.js';
import { addsOf } from '../reversible/index.js';
import type { CoupledChain } from '../reversible/index.js';
import { assignPolicies } from './policy.js';
import type { Policy, ScheduledUnit } from './policy.js';
import { partition } from './units.js';

/** @param graph sorted @param stored units to store whatever the policy asked for */
export function scheduleUnits(
  graph: Graph,
  all: readonly CoupledChain[],
  policy: Policy,
  stored: readonly string[] = [],
): ScheduledUnit[] {
  // A chain that leads to other outputs than the loss went with them.
  const chains = all.filter((chain) =>
    chain.couplings.every(({ t }) => t.producer !== undefined && graph.has(t.producer)),
  );
  // Found again: shape arithmetic may have gone since, and what is part of a chain is no block of its own.
  const coupled = addsOf(chains);
  const left = findResidualBlocks(graph, coupled).filter((block) => !block.nested);
  return assignPolicies(partition(graph, chains, left), policy, new Set(stored));
}
