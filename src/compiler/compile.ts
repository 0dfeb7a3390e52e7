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
import type { AddReport, CompileState, Settings } from '../../passes/index.js';
import type { Model } from '../ir/index.js';
import type { Plan } from '../plan/index.js';
import { runPipeline } from '../rewrite/index.js';
import { measureBaselines } from './baselines.js';
import type { Baselines } from './baselines.js';
import { startBaselines } from './beside.js';
import { coupleNetwork, unknownOperators } from './coupled.js';
import type { CompileOptions, Coupled } from './coupled.js';
import { assemblePlan } from './plan.js';
import { buildStep } from './step.js';
import type { StepBuild } from './step.js';

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

/**
 * @throws DiagnosticError model/*, op/*, shape/*, and couple/nothing when the recipe finds no chain
 */
export function compile(model: Model, options: CompileOptions): Compiled {
  const coupled = coupleNetwork(model, options);
  const step = ownStep(coupled, options);
  return finish(coupled, options, step, measureBaselines(coupled, step));
}

/**
 * The same for a model that was just read from options.source, with the baselines of a large one built meanwhile on
 * another core.
 */
export async function compileFile(model: Model, options: CompileOptions): Promise<Compiled> {
  const beside = startBaselines(model, options);
  try {
    const coupled = coupleNetwork(model, options);
    const step = ownStep(coupled, options);
    const baselines = (await beside?.result) ?? measureBaselines(coupled, step);
    return finish(coupled, options, step, baselines);
  } finally {
    await beside?.stop();
  }
}

function ownStep({ state }: Coupled, { instruments = [] }: CompileOptions): StepBuild {
  runPipeline(standardPipeline, state, instruments);
  const step = buildStep(state.model, state.chains, state.settings, instruments);
  // What append-loss has chosen.
  state.notes.push(...step.state.notes);
  return step;
}

function finish(
  { state }: Coupled,
  { name, source, pipeline = revPipeline() }: CompileOptions,
  step: StepBuild,
  baselines: Baselines,
): Compiled {
  const plan = assemblePlan({
    name,
    source,
    passes: printRevPipeline(pipeline),
    coupled: state,
    step,
    baselines,
  });
  const { model } = state;
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
