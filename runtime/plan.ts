// Reading a compiled folder. In: the folder that `revnetify MODEL -o DIR` wrote. Out: its plan and the paths of its
// models. Invariant: what comes out can be trained with: both models are there, and every input has the role,
// type and successor that its role asks for.

import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { DiagnosticError } from '../src/diagnostics/index.js';
import { readPlanFile } from '../src/plan/index.js';
import type { InputRole, Plan, PlanInput, ScalarRole } from '../src/plan/index.js';
import { isSideType } from './data/index.js';
import type { SideInput, Wanted } from './data/index.js';
import { messageOf } from './session.js';

const SUFFIX = '.plan.json';

/** Roles that stand for one input each. */
const SINGLE = ['images', 'labels', 'learning_rate', 'weight_decay'] as const;
/** Roles whose value goes from step to step. */
const STATE: ReadonlySet<InputRole> = new Set<InputRole>([
  ...(['weight', 'statistic'] as const),
  ...(['velocity', 'moment1', 'moment2', 'gradient_sum'] as const),
]);
/** Every scalar a runtime knows how to feed. */
const SCALARS: ReadonlySet<InputRole> = new Set<InputRole>([
  ...(['learning_rate', 'weight_decay', 'momentum', 'carry', 'gain'] as const),
  ...(['beta1', 'beta2', 'beta1_rest', 'beta2_rest', 'epsilon', 'bias1', 'bias2'] as const),
]);

export interface CompiledFolder {
  readonly plan: Plan;
  readonly dir: string;
  /** The file of the plan. */
  readonly path: string;
}

/** @throws DiagnosticError train/invalid */
export function readPlan(dir: string): CompiledFolder {
  const path = findPlan(dir);
  const plan = readPlanFile(path, 'train/invalid');
  checkInputs(plan, path);
  for (const file of [plan.model.train, plan.model.rev])
    if (!existsSync(join(dir, file)))
      throw new DiagnosticError(
        'train/invalid',
        dir,
        `the plan names ${file}, which is not there`,
        'keep the files of a compilation together, or make them again',
      );
  return { plan, dir, path };
}

/** The file of the one plan in a folder. @throws DiagnosticError train/invalid */
export function findPlan(dir: string): string {
  let names: string[];
  try {
    names = readdirSync(dir);
  } catch (error) {
    throw new DiagnosticError('train/invalid', dir, messageOf(error));
  }
  const plans = names.filter((name) => name.endsWith(SUFFIX)).sort();
  const [plan] = plans;
  if (plan === undefined)
    throw new DiagnosticError('train/invalid', dir, 'it holds no *.plan.json');
  if (plans.length > 1)
    throw new DiagnosticError(
      'train/invalid',
      dir,
      `it holds several plans: ${plans.join(', ')}`,
      'keep one compiled model per folder',
    );
  return join(dir, plan);
}

/** What the schema cannot say: which inputs there are, and what belongs to each role. */
function checkInputs({ inputs, assumptions }: Plan, path: string): void {
  const labels = assumptions.loss === 'mse' ? 'float32' : 'int64';
  const bad = (why: string): DiagnosticError => new DiagnosticError('train/invalid', path, why);
  for (const role of SINGLE) {
    const count = inputs.filter((input) => input.role === role).length;
    if (count !== 1) throw bad(`it has ${count} inputs with the role ${role}`);
  }
  for (const { name, role, dtype, next } of inputs) {
    if (STATE.has(role) && next === undefined)
      throw bad(`input ${name} (${role}) has no successor`);
    const wanted = role === 'labels' ? labels : role === 'seed' ? 'int32' : 'float32';
    // Token numbers take the place of pixels.
    if (role === 'images' && dtype === 'int64') continue;
    if (role === 'side') {
      if (!isSideType(dtype)) throw bad(`input ${name} is ${dtype}, which is not fed`);
      continue;
    }
    if (dtype !== wanted) throw bad(`input ${name} (${role}) is ${dtype}, not ${wanted}`);
  }
}

/** The inputs of the network beside the images. */
export const sideInputs = (plan: Plan): SideInput[] =>
  plan.inputs
    .filter(({ role }) => role === 'side')
    .map(({ name, dtype, shape, limit }) => ({
      ...{ name, dtype: dtype as SideInput['dtype'], shape },
      ...(limit === undefined ? {} : { limit }),
    }));

/** The input that random masks are drawn from; undefined: nothing in the network is random. */
export const seedInput = (plan: Plan): PlanInput | undefined =>
  plan.inputs.find(({ role }) => role === 'seed');

/** The one input of a role. */
export function inputOf(plan: Plan, role: (typeof SINGLE)[number]): PlanInput {
  const input = plan.inputs.find((candidate) => candidate.role === role);
  if (!input)
    throw new DiagnosticError('train/invalid', plan.model.name, `no input is its ${role}`);
  return input;
}

export interface ScalarInput extends PlanInput {
  readonly role: ScalarRole;
}

/** The settings of one step. */
export const scalarInputs = (plan: Plan): ScalarInput[] =>
  plan.inputs.filter((input): input is ScalarInput => SCALARS.has(input.role));

export interface StateInput extends PlanInput {
  readonly next: string;
}

/** The inputs whose value goes from step to step. */
export const stateInputs = (plan: Plan): StateInput[] =>
  plan.inputs.filter((i): i is StateInput => STATE.has(i.role) && i.next !== undefined);

/** What a batch looks like to the data pipeline. Images of rank 2 count as one row of pixels, tokens too. */
export function batchShape(plan: Plan): Wanted & { readonly batch: number } {
  const { name, shape, dtype, limit } = inputOf(plan, 'images');
  const [batch, ...sample] = shape;
  const tokens = dtype === 'int64';
  const extents = tokens ? [elements(sample)] : sample;
  const [width = 1, height = 1, channels = 1] = [...extents].reverse();
  if (batch === undefined || extents.length < 1 || extents.length > 3)
    throw new DiagnosticError(
      'train/invalid',
      `input ${name}`,
      `its shape [${shape.join(',')}] is not that of a batch of images`,
      'run the step on arrays of your own with TrainingStep of the library (see README.md), or train.onnx in any ONNX Runtime',
    );
  const { classes, ignoreIndex } = plan.assumptions;
  const labels = inputOf(plan, 'labels');
  const floats = labels.dtype === 'float32';
  const answers = { shape: labels.shape.slice(1), floats };
  return {
    ...{ batch, channels, height, width, shape: sample },
    ...(tokens ? { tokens: limit === undefined ? {} : { limit } } : {}),
    ...(floats ? {} : { classes }),
    ...(floats || answers.shape.length > 0 ? { answers } : {}),
    ...(ignoreIndex === null ? {} : { ignoreIndex }),
    sides: sideInputs(plan).map((side) => ({ ...side, shape: side.shape.slice(1) })),
  };
}

const elements = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);
