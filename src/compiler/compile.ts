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
import { fitBudget } from './budget.js';
import { coupleNetwork, unknownOperators } from './coupled.js';
import type { CompileOptions, Coupled } from './coupled.js';
import { draftPlan } from './plan.js';
import { buildForward, buildStep } from './step.js';
import type { StepBuild } from './step.js';

export interface CompiledModels {
  /** The network as it will be trained, in inference form, with its weights. */
  readonly rev: Model;
  /** The whole training step; weights are inputs. */
  readonly train: Model;
}

export interface Compiled extends CompiledModels {
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
  const built = build(model, options);
  return built.finish(measureBaselines(built.coupled, built.step));
}

/**
 * The same for a model that was just read from options.source, with the baselines of a large one built meanwhile on
 * another core.
 * @param meanwhile is given the models as soon as they are ready, when the plan still lacks those figures
 */
export async function compileFile(
  model: Model,
  options: CompileOptions,
  meanwhile?: (models: CompiledModels) => void,
): Promise<Compiled> {
  const beside = startBaselines(model, options);
  try {
    const { models, coupled, step, finish } = build(model, options);
    meanwhile?.(models);
    return finish((await beside?.result) ?? measureBaselines(coupled, step));
  } finally {
    await beside?.stop();
  }
}

function ownStep({ state }: Coupled, { instruments = [], budget }: CompileOptions): StepBuild {
  runPipeline(standardPipeline, state, instruments);
  const { model, chains, settings } = state;
  const build = (chosen: Settings): StepBuild => buildStep(model, chains, chosen, instruments);
  const step =
    budget === undefined
      ? build(settings)
      : fitBudget(settings, budget, buildForward(model, chains, settings).units, build);
  state.settings = step.state.settings;
  // What append-loss has chosen.
  state.notes.push(...step.state.notes);
  return step;
}

interface Built {
  readonly models: CompiledModels;
  readonly coupled: Coupled;
  readonly step: StepBuild;
  readonly finish: (baselines: Baselines) => Compiled;
}

function build(source: Model, options: CompileOptions): Built {
  const coupled = coupleNetwork(source, options);
  const step = ownStep(coupled, options);
  const { state } = coupled;
  const { model, settings } = state;
  const train = step.state.model;
  train.metadata.set(
    'revnetify.step',
    `${settings.recipe}, ${settings.policy}, batch ${settings.batch}`,
  );
  // The streams changed what every batch norm sees: its running averages are right again after training.
  if (state.reports.some(isRewritten))
    model.metadata.set('revnetify.running_statistics', 'uncalibrated');
  const models = { rev: model, train };
  const { pipeline = revPipeline() } = options;
  const planWith = draftPlan({
    name: options.name,
    source: options.source,
    passes: printRevPipeline(pipeline),
    coupled: state,
    step,
  });
  const finish = (baselines: Baselines): Compiled => ({
    ...models,
    plan: planWith(baselines),
    state,
  });
  return { models, coupled, step, finish };
}

const isRewritten = ({ coupled, code }: AddReport): boolean => coupled && code !== 'reversible';
