// The two steps a plan is compared with: the coupled and the original network with every activation stored. In: a coupled
// network. Out: their figures. Invariant: a baseline is built by the passes that build the step itself; nothing but its
// figures outlives it, because it is as large as the step.

import type { CompileState, Settings } from '../../passes/index.js';
import { elementCount } from '../ir/index.js';
import type { Node, Value } from '../ir/index.js';
import type { PlanMemory } from '../plan/index.js';
import type { Coupled } from './coupled.js';
import { staticShape, stepMemory } from './memory.js';
import { buildStep } from './step.js';
import type { StepBuild } from './step.js';

/** What the plan says of the original's training step. */
export interface Baseline {
  readonly memory: PlanMemory;
  readonly parameters: number;
  /** Layers with weights on the longest way through the network. */
  readonly depth: number;
  readonly forwardFlops: number;
  readonly stepFlops: number;
}

/** Plain data: it may come from another thread. */
export interface Baselines {
  readonly coupledStored: PlanMemory;
  readonly originalStored: Baseline;
}

export const parameterCount = (state: CompileState): number =>
  (state.step?.updates ?? []).reduce((n, u) => n + elementCount(staticShape(u.weight)), 0);

/** Layers with a matrix or filter of weights on the longest forward path. */
export function depthOf({ model: { graph }, step }: CompileState): number {
  const weights = new Set(step?.updates.map((u) => u.weight));
  const depths = new Map<Node, number>();
  for (const node of graph.nodes) {
    if (node.phase !== 'forward') continue;
    const data = node.inputs.filter((v): v is Value => v !== undefined && !v.constant);
    if (data.length > 0 && data.every((v) => weights.has(v))) {
      // A weight in another layout is still one.
      for (const value of node.outputs) if (value) weights.add(value);
      continue;
    }
    const own = node.inputs.some((v) => v && weights.has(v) && (v.shape?.length ?? 0) >= 2);
    const before = node.inputs.map((v) => (v?.producer && depths.get(v.producer)) ?? 0);
    depths.set(node, Math.max(0, ...before) + (own ? 1 : 0));
  }
  return Math.max(0, ...depths.values());
}

/** @param own the step itself, where it is at hand: it may be one of the two */
export function measureBaselines({ state, original }: Coupled, own?: StepBuild): Baselines {
  const stored: Settings = { ...state.settings, policy: 'store' };
  const same = own && state.settings.policy === 'store';
  const coupled = same ? own : buildStep(state.model, state.chains, stored, [], true);
  const coupledStored = stepMemory(coupled.state);
  if (state.chains.length === 0)
    return { coupledStored, originalStored: figuresOf(coupled, coupledStored) };
  const before = buildStep(original, [], { ...stored, recipe: 'none' }, [], true);
  return { coupledStored, originalStored: figuresOf(before, stepMemory(before.state)) };
}

const figuresOf = (
  { state, forwardFlops, stepFlops }: StepBuild,
  memory: PlanMemory,
): Baseline => ({
  memory,
  parameters: parameterCount(state),
  depth: depthOf(state),
  forwardFlops,
  stepFlops,
});
