// Assembles the plan. In: the built step, its two baselines, the reports of the passes. Out: the plan, ready to be
// written. Invariant: deterministic: nothing here depends on time, machine or iteration over unordered sets.

import { NCHWC } from '../ir/index.js';
import { basename } from 'node:path';
import { tableSize } from '../analysis/index.js';
import { choicesOf } from '../../passes/index.js';
import type { CompileState } from '../../passes/index.js';
import { invariant } from '../diagnostics/index.js';
import type { Value } from '../ir/index.js';
import { WORKING_OPSET } from '../ops/index.js';
import { PLAN_SCHEMA_VERSION } from '../plan/index.js';
import type { InputRole, Plan, PlanChain, PlanInput } from '../plan/index.js';
import { safeInPlace } from './aliasing.js';
import { depthOf, parameterCount } from './baselines.js';
import type { Baselines } from './baselines.js';
import { describeMemory, staticShape, weightBytes } from './memory.js';
import { outputFiles } from './names.js';
import type { StepBuild } from './step.js';

export interface PlanParts {
  readonly name: string;
  readonly source: string;
  /** The pipeline of rev.onnx as text. */
  readonly passes: string;
  /** Names of chains refer to this model's values: rev.onnx. */
  readonly coupled: CompileState;
  readonly step: StepBuild;
}

function planInputs(state: CompileState): PlanInput[] {
  const { step, loss } = state;
  invariant(step && loss, 'a plan needs a differentiated step');
  const pairs = [
    ...step.updates.flatMap((u) => [{ old: u.weight, next: u.newWeight }, ...u.states]),
    ...step.statistics,
  ];
  const limited = (value: Value): Partial<PlanInput> => {
    const limit = tableSize(value);
    return limit === undefined ? {} : { limit };
  };
  const safe = safeInPlace(state.model.graph, pairs, step.backward.tokens);
  const input = (value: Value, role: InputRole, more: Partial<PlanInput> = {}): PlanInput => ({
    name: value.name,
    role,
    dtype: value.type?.dtype ?? 'float32',
    shape: staticShape(value),
    ...more,
  });
  return [
    input(loss.images, 'images', limited(loss.images)),
    ...loss.sides.map((side) => input(side, 'side', limited(side))),
    input(loss.labels, 'labels'),
    ...(state.seed ? [input(state.seed, 'seed')] : []),
    ...[...step.scalars].map(([role, value]) => input(value, role)),
    ...step.updates.flatMap((u) => [
      input(u.weight, 'weight', { next: u.newWeight.name, inPlace: safe.has(u.weight) }),
      ...u.states.map(({ role, old, next }) =>
        input(old, role, { next: next.name, inPlace: safe.has(old), weight: u.weight.name }),
      ),
    ]),
    ...step.statistics.map((s) =>
      input(s.old, 'statistic', { next: s.next.name, inPlace: safe.has(s.old) }),
    ),
  ];
}

const planChains = (state: CompileState): PlanChain[] =>
  state.chains.map((chain) => ({
    id: chain.id,
    output: chain.output.name,
    couplings: chain.couplings.map(({ id, a, b, f, t, carried }) => ({
      id,
      a: a.name,
      b: b.name,
      f: f.name,
      t: t.name,
      carried: carried.name,
    })),
  }));

/** @returns what makes the plan of it, once the baselines are there */
export function draftPlan(parts: PlanParts): (baselines: Baselines) => Plan {
  const { state } = parts.step;
  const { step, loss, settings } = state;
  invariant(step && loss, 'a plan needs a differentiated step');
  const files = outputFiles(parts.name);
  const own = describeMemory(state);
  const [inputs, parameters, depth] = [planInputs(state), parameterCount(state), depthOf(state)];
  return ({ coupledStored, originalStored }) => ({
    schemaVersion: PLAN_SCHEMA_VERSION,
    model: {
      name: parts.name,
      rev: files.rev,
      train: files.train,
      // Not its folder: the same model elsewhere gives the same plan.
      source: basename(parts.source),
      parameters: {
        before: originalStored.parameters,
        after: parameters,
      },
      depth: {
        before: originalStored.depth,
        after: depth,
      },
      weightBytes: weightBytes(step.updates.map((u) => u.weight)),
    },
    recipe: settings.recipe,
    choices: {
      partition: settings.partition,
      match: settings.match,
      ...choicesOf(settings),
      batchNorm: settings.batchNorm,
      dropout: settings.dropout,
    },
    passes: parts.passes,
    assumptions: {
      batch: settings.batch,
      imageShape: staticShape(loss.images).slice(1),
      classes: loss.classes,
      dtype: 'float32',
      optimizer: settings.optimizer,
      nesterov: settings.nesterov,
      clipNorm: settings.clipNorm,
      accumulate: settings.accumulate,
      labelSmoothing: settings.labelSmoothing,
      loss: loss.kind,
      classAxis: loss.classAxis ?? null,
      output: settings.output ?? null,
      ignoreIndex: settings.ignoreIndex ?? null,
      target: settings.target,
      ...(settings.block !== undefined && state.model.opsets.has(NCHWC)
        ? { block: settings.block }
        : {}),
      policy: settings.policy,
      ...(settings.stored.length > 0 ? { stored: settings.stored } : {}),
      seed: settings.seed,
      opset: WORKING_OPSET,
      inputShapes: Object.fromEntries(
        [...settings.inputShapes].sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)),
      ),
    },
    notes: parts.coupled.notes,
    inputs,
    outputs: {
      loss: loss.loss.name,
      correct: loss.correct.name,
      logits: loss.logits.name,
      network: loss.output,
    },
    blocks: parts.coupled.reports.map((r) => ({ ...r, shape: r.shape ?? null })),
    chains: planChains(parts.coupled),
    units: step.units.map(({ id, kind, policy, reason }) => ({ id, kind, policy, reason })),
    steps: own.steps,
    buffers: own.buffers,
    memory: {
      plan: own.memory,
      coupledStored,
      originalStored: originalStored.memory,
      savedRatio: 1 - own.memory.activationBytes / originalStored.memory.activationBytes,
    },
    cost: {
      forwardFlops: originalStored.forwardFlops,
      stepFlopsBefore: originalStored.stepFlops,
      stepFlopsAfter: parts.step.stepFlops,
      ratio: parts.step.stepFlops / originalStored.stepFlops,
    },
    measured: [],
  });
}
