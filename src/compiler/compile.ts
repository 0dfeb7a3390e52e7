// The main job. In: an ONNX model and settings. Out: the coupled inference model (rev), the training step (train)
// and the plan. Invariant: nothing is written here, and the model handed in is used up.

import {
  couplePipeline,
  createState,
  importPipeline,
  printRevPipeline,
  revPipeline,
  standardPipeline,
} from '../../passes/index.js';
import type { AddReport, CompileState, RevPipeline, Settings } from '../../passes/index.js';
import { DiagnosticError } from '../diagnostics/index.js';
import { cloneModel } from '../ir/index.js';
import type { Model } from '../ir/index.js';
import { findOp, leftOutReason } from '../ops/index.js';
import type { Plan } from '../plan/index.js';
import { runPipeline } from '../rewrite/index.js';
import type { Instrument } from '../rewrite/index.js';
import { assemblePlan } from './plan.js';
import { buildStep } from './step.js';

export interface CompileOptions extends Partial<Settings> {
  /** Short name of the model; its files are named after it. */
  readonly name: string;
  /** Where the model came from, for the plan. */
  readonly source: string;
  /** The passes up to rev.onnx; default revPipeline(). */
  readonly pipeline?: RevPipeline;
  readonly instruments?: readonly Instrument[];
}

export interface Compiled {
  /** The network as it will be trained, in inference form, with its weights. */
  readonly rev: Model;
  /** The whole training step; weights are inputs. */
  readonly train: Model;
  readonly plan: Plan;
  /** The coupled network with everything the passes found out about it; state.model is rev. */
  readonly state: CompileState;
}

/** Import and analysis only: what `inspect` shows. */
export function analyseModel(model: Model, settings: Partial<Settings> = {}): CompileState {
  const state = createState(model, settings);
  runPipeline([...importPipeline, ...couplePipeline], state);
  const unknown = unknownOperators(model);
  if (unknown !== undefined) state.notes.push(unknown);
  return state;
}

/** Operators without a definition: what follows them has no known shape, so nothing can be coupled there. */
function unknownOperators(model: Model): string | undefined {
  const counts = new Map<string, number>();
  for (const node of model.graph.nodes) {
    if (findOp(node)) continue;
    const why = leftOutReason(node);
    const name = `${node.domain || 'ai.onnx'}.${node.op}${why === undefined ? '' : `: ${why}`}`;
    counts.set(name, (counts.get(name) ?? 0) + 1);
  }
  if (counts.size === 0) return undefined;
  const list = [...counts].map(([name, count]) => `${name} (${count} ×)`);
  return `not supported, and what follows has no known shape: ${list.join(', ')}`;
}

/**
 * @throws DiagnosticError model/*, op/*, shape/*, and couple/nothing when the recipe finds no chain
 */
export function compile(model: Model, options: CompileOptions): Compiled {
  const { name, source, pipeline = revPipeline(), instruments = [], ...settings } = options;
  const state = createState(model, settings);
  runPipeline(pipeline.before, state, instruments);
  const original = cloneModel(model).model;
  runPipeline(pipeline.after, state, instruments);
  if (state.settings.recipe !== 'none' && state.chains.length === 0)
    throw new DiagnosticError(
      'couple/nothing',
      source,
      nothingReason(state, pipeline),
      nothingHint(state),
    );

  runPipeline(standardPipeline, state, instruments);
  const step = buildStep(model, state.chains, state.settings, instruments);
  // What append-loss has chosen.
  state.notes.push(...step.state.notes);
  const stored: Settings = { ...state.settings, policy: 'store' };
  const same = (policy: Settings['policy']): boolean => state.settings.policy === policy;
  const coupledStored = same('store') ? step : buildStep(model, state.chains, stored);
  const isOriginal = state.chains.length === 0;
  const originalStored = isOriginal
    ? coupledStored
    : buildStep(original, [], { ...stored, recipe: 'none' });
  const plan = assemblePlan({
    name,
    source,
    passes: printRevPipeline(pipeline),
    coupled: state,
    step,
    coupledStored,
    originalStored,
  });
  const train = step.state.model;
  train.metadata.set(
    'revnetify.step',
    `${state.settings.recipe}, ${state.settings.policy}, batch ${state.settings.batch}`,
  );
  // The streams changed what every batch norm sees: its running averages are right again after training.
  if (state.reports.some(isRewritten))
    model.metadata.set('revnetify.running_statistics', 'uncalibrated');
  return { rev: model, train, plan, state };
}

const isRewritten = ({ coupled, code }: AddReport): boolean => coupled && code !== 'reversible';

/** Something more exact than the catalogue's advice, which would only end at the next message. */
function nothingHint({ model, blocks }: CompileState): string | undefined {
  if (unknownOperators(model) === undefined || blocks.length === 0) return undefined;
  return 'export the model without the operators that are not supported, or add them under src/ops/';
}

function nothingReason(state: CompileState, pipeline: RevPipeline): string {
  if (!pipeline.after.some(({ name }) => name === 'find-residual-blocks'))
    return 'the pipeline has no find-residual-blocks';
  const none =
    state.reports.length === 0 ? ['no Add joins a shortcut and a branch of the same value'] : [];
  const reports =
    state.reports.length > 0 ? state.reports : state.others.filter((r) => r.code !== 'constant');
  return [...none, ...byCode(reports), unknownOperators(state.model) ?? []].flat().join('; ');
}

/** "3 × REASON"; where the reasons name what they are about, one of them as an example. */
function byCode(reports: readonly AddReport[]): string[] {
  const groups = new Map<string, AddReport[]>();
  for (const report of reports)
    groups.set(report.code, [...(groups.get(report.code) ?? []), report]);
  return [...groups.values()].map((group) => {
    const [first] = group;
    const same = group.every(({ reason }) => reason === first?.reason);
    return `${group.length} × ${same ? '' : `as at ${first?.add ?? ''}: `}${first?.reason ?? ''}`;
  });
}
