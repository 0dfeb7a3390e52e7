// Pass differentiate: forward graph → whole training step. In: a graph with its loss, chains and left blocks. Out:
// recompute, gradients and the optimizer's updates in the same graph; weights and state as inputs, their new values as
// outputs. Invariant: running statistics are updated once, from the first forward pass.

import {
  Views,
  addScalars,
  appendBackward,
  appendUpdates,
  findParameters,
  joinToken,
  makeToken,
  viewInputs,
} from '../src/autodiff/index.js';
import type { BackwardResult, Trained, WeightUpdate } from '../src/autodiff/index.js';
import { invariant } from '../src/diagnostics/index.js';
import type { Graph, Value } from '../src/ir/index.js';
import { Builder } from '../src/ops/index.js';
import { isDeep, scheduleUnits } from '../src/schedule/index.js';
import type { ScheduledUnit } from '../src/schedule/index.js';
import { definePass } from './state.js';
import type { RunningStatistics, StepState } from './state.js';

/** Node names tell the step: "forward/layer1.2/conv1". Value names stay as they were. */
function nameForward(graph: Graph, units: readonly ScheduledUnit[]): void {
  for (const unit of units)
    for (const node of unit.nodes) {
      node.origin ??= node.name;
      node.unit = unit.id;
      const last =
        node.name
          .split('/')
          .filter((part) => part !== '')
          .at(-1) ?? node.op;
      node.name = graph.uniqueName(`forward/${unit.id}/${last}`);
    }
}

/**
 * Forward units hide their batch size from the executor's static planner too: see autodiff/views.ts. A rank that the first
 * unit hides is hidden from then on.
 */
function viewForward(
  units: readonly ScheduledUnit[],
  anyInput: Value,
  root: Builder,
  hidden: boolean,
): void {
  const token = makeToken([anyInput], root.within({ path: 'forward' }));
  (hidden ? units.slice(0, 1) : units).forEach((unit, index) => {
    const b = root.within({ path: `forward/${unit.id}`, unit: unit.id });
    const symbol = hidden ? undefined : `forward.${unit.id}`;
    viewInputs(unit.nodes, new Views(token, symbol, b, index));
  });
}

/** One running average: old·m + new·(1 − m). */
function average(
  graph: Graph,
  root: Builder,
  old: Value,
  batch: Value,
  momentum: number,
  scale: number,
): Value {
  const b = root.within({
    phase: 'update',
    path: `update/${old.name}`,
    origin: old.name,
    unit: 'statistics',
  });
  const kept = b.op('Mul', [old, b.scalar(momentum)], { name: 'kept' });
  const fresh = b.op('Mul', [batch, b.scalar((1 - momentum) * scale)], { name: 'fresh' });
  const next = b.op('Add', [kept, fresh], { name: 'new' });
  graph.outputs.push(next);
  return next;
}

function updateStatistics(
  graph: Graph,
  statistics: readonly RunningStatistics[],
  root: Builder,
): { old: Value; next: Value }[] {
  return statistics.flatMap((s) => {
    const unbiased = s.count > 1 ? s.count / (s.count - 1) : 1;
    return [
      { old: s.runningMean, next: average(graph, root, s.runningMean, s.batchMean, s.momentum, 1) },
      {
        old: s.runningVariance,
        next: average(graph, root, s.runningVariance, s.batchVariance, s.momentum, unbiased),
      },
    ];
  });
}

/**
 * Lets each unit wait for the new weights of the one before it, too. A node that nobody reads stands at the end of the
 * file, and ONNX Runtime, when it loads one, counts at every node what could be run by then and stands further behind: in
 * a deep step thousands of updates, a fifth of the time at 434 layers and more at more.
 */
function waitForUpdates(
  { tokens, released }: BackwardResult,
  updates: readonly WeightUpdate[],
  statistics: StepState['statistics'],
  root: Builder,
  clipped: boolean,
): void {
  const b = root.within({ phase: 'backward', path: 'backward/updates' });
  const after = new Map(tokens.map((token, index) => [token, tokens[index + 1]]));
  const joining = new Map<Value, Value[]>();
  // Updates that wait for the norm of all gradients come behind all tokens.
  for (const { weight, newWeight } of clipped ? [] : updates) {
    const token = released.get(weight);
    const next = token && after.get(token);
    if (next && !joining.get(next)?.push(newWeight)) joining.set(next, [newWeight]);
  }
  for (const [token, results] of joining) joinToken(token, results, b);
  const [first] = tokens;
  if (first)
    joinToken(
      first,
      statistics.map(({ next }) => next),
      b,
    );
}

export const differentiatePass = definePass({
  name: 'differentiate',
  summary: 'derive the backward pass under the chosen policies and append the optimizer',
  run: (state) => {
    const { settings, loss } = state;
    const { graph } = state.model;
    invariant(loss, 'differentiate needs append-loss before it');
    graph.sort();
    const parameters = findParameters(graph);
    const units = scheduleUnits(graph, state.chains, settings.policy, settings.stored);
    nameForward(graph, units);
    const deep = isDeep(graph);
    const root = new Builder(graph, { phase: 'forward', path: 'step' });
    const scalars = addScalars(graph, settings);
    const rate = scalars.get('learning_rate');
    invariant(rate, 'every optimizer has a learning rate');
    const backward = appendBackward(graph, units, loss.loss, new Set(parameters), root, {
      token: settings.token,
      views: settings.target === 'cpu',
      hidden: deep,
    });
    if (settings.token && settings.target === 'cpu') viewForward(units, rate, root, deep);
    const trained = parameters.flatMap((weight): Trained[] => {
      const gradient = backward.gradients.get(weight);
      const released = settings.token ? backward.released.get(weight) : undefined;
      return gradient ? [{ weight, gradient, released }] : [];
    });
    const done = settings.token ? backward.tokens.at(-1) : undefined;
    const updates = appendUpdates(graph, trained, done, scalars, settings, root);
    const statistics = updateStatistics(graph, state.statistics, root);
    if (settings.token && deep)
      waitForUpdates(backward, updates, statistics, root, settings.clipNorm > 0);
    graph.removeDead();
    graph.sort();
    state.step = { units, backward, updates, statistics, scalars, deep };
  },
});
