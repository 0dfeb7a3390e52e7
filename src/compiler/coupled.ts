// Import and coupling. In: an ONNX model and settings. Out: the coupled network, and the original as it was imported.
// Invariant: where nothing can be coupled, the message says why of every Add that looked like a residual one.

import { createState, revPipeline } from '../../passes/index.js';
import type { AddReport, CompileState, RevPipeline, Settings } from '../../passes/index.js';
import { DiagnosticError } from '../diagnostics/index.js';
import type { Budget } from './budget.js';
import { cloneModel } from '../ir/index.js';
import type { Model } from '../ir/index.js';
import { findOp, leftOutReason } from '../ops/index.js';
import { runPipeline } from '../rewrite/index.js';
import type { Instrument } from '../rewrite/index.js';

export interface CompileOptions extends Partial<Settings> {
  /** Short name of the model; its files are named after it. */
  readonly name: string;
  /** Where the model came from, for the plan. */
  readonly source: string;
  /** The passes up to rev.onnx; default revPipeline(). */
  readonly pipeline?: RevPipeline;
  readonly instruments?: readonly Instrument[];
  /**
   * Bytes that training may take: weights, the optimizer's tensors, a batch and the step's peak; what fits is stored. free: those
   * it takes with nothing stored. Default: nothing is stored but where it needs no look at the rest.
   */
  readonly budget?: Budget;
}

const NO_SETTINGS: readonly string[] = ['name', 'source', 'pipeline', 'instruments', 'budget'];

/** What remains of the options is what passes read: plain data. */
export const settingsOf = (options: CompileOptions): Partial<Settings> =>
  Object.fromEntries(Object.entries(options).filter(([key]) => !NO_SETTINGS.includes(key)));

export interface Coupled {
  /** state.model is the coupled network. */
  readonly state: CompileState;
  /** The network before coupling. */
  readonly original: Model;
}

/**
 * @param trusted the same model is coupled elsewhere, and verified there
 * @throws DiagnosticError model/*, op/*, shape/*, couple/nothing
 */
export function coupleNetwork(model: Model, options: CompileOptions, trusted = false): Coupled {
  const { source, pipeline = revPipeline(), instruments = [] } = options;
  const state = createState(model, settingsOf(options));
  runPipeline(pipeline.before, state, instruments, trusted);
  const original = cloneModel(model).model;
  runPipeline(pipeline.after, state, instruments, trusted);
  if (state.settings.recipe !== 'none' && state.chains.length === 0)
    throw new DiagnosticError(
      'couple/nothing',
      source,
      nothingReason(state, pipeline),
      nothingHint(state),
    );
  return { state, original };
}

/** Operators without a definition: what follows them has no known shape, so nothing can be coupled there. */
export function unknownOperators(model: Model): string | undefined {
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
