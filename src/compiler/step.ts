// One training step of a network, built for given settings. In: an imported (and perhaps coupled) model. Out: a
// copy of it, differentiated, lowered and ordered, with its cost. Invariant: the model handed in is not changed.

import { forwardPipeline, stepPipeline } from '../../passes/index.js';
import type { CompileState, Settings } from '../../passes/index.js';
import { createState } from '../../passes/index.js';
import { cloneModel } from '../ir/index.js';
import type { Graph, Model } from '../ir/index.js';
import { assertValid } from '../ir/verify.js';
import { findOp, inferContext } from '../ops/index.js';
import type { CoupledChain } from '../reversible/index.js';
import { runPipeline } from '../rewrite/index.js';
import type { Instrument } from '../rewrite/index.js';
import { scheduleUnits } from '../schedule/index.js';
import type { ScheduledUnit } from '../schedule/index.js';

export interface StepBuild {
  readonly state: CompileState;
  /** Floating point operations of the forward phase and of the whole step. */
  readonly forwardFlops: number;
  readonly stepFlops: number;
}

function countFlops(graph: Graph): { forward: number; step: number } {
  let [forward, step] = [0, 0];
  for (const node of graph.nodes) {
    const flops = findOp(node)?.flops?.(inferContext(node)) ?? 0;
    step += flops;
    if (node.phase === 'forward') forward += flops;
  }
  return { forward, step };
}

/** A copy of a model with its chains, as the passes of a step take it. */
function copyState(
  model: Model,
  chains: readonly CoupledChain[],
  settings: Settings,
): CompileState {
  const copy = cloneModel(model);
  const state = createState(copy.model, settings);
  state.chains = chains.map((chain) => ({
    id: chain.id,
    output: copy.value(chain.output),
    couplings: chain.couplings.map(({ id, a, b, f, t, carried }) => ({
      id,
      a: copy.value(a),
      b: copy.value(b),
      f: copy.value(f),
      t: copy.value(t),
      carried: copy.value(carried),
    })),
  }));
  return state;
}

/** The forward pass of a step and its units, with the policies that `settings` give them. */
export interface ForwardBuild {
  readonly state: CompileState;
  readonly units: readonly ScheduledUnit[];
}

/** What buildStep differentiates, in a copy of the model. @param chains of the model */
export function buildForward(
  model: Model,
  chains: readonly CoupledChain[],
  settings: Settings,
): ForwardBuild {
  const state = copyState(model, chains, settings);
  runPipeline(forwardPipeline, state);
  const { graph } = state.model;
  graph.sort();
  return { state, units: scheduleUnits(graph, state.chains, settings.policy, settings.stored) };
}

/**
 * @param chains of the model: their values are looked up in the copy
 * @param measured only its figures are wanted: what nobody will see is not verified
 * @throws DiagnosticError pass/failed
 */
export function buildStep(
  model: Model,
  chains: readonly CoupledChain[],
  settings: Settings,
  instruments: readonly Instrument[] = [],
  measured = false,
): StepBuild {
  const state = copyState(model, chains, settings);
  let cost = { forward: 0, step: 0 };
  const meter: Instrument = {
    // Counted on abstract steps: the same arithmetic whatever forms the target prefers.
    afterPass: (name, { graph }) => {
      if (name === 'differentiate') cost = countFlops(graph);
    },
  };
  // A step has dozens of nodes per layer: verified when it is whole.
  runPipeline(stepPipeline, state, [meter, ...instruments], true);
  if (!measured) assertValid(state.model);
  return { state, forwardFlops: cost.forward, stepFlops: cost.step };
}
