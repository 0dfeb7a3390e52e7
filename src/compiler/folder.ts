// A compiled folder: rev.onnx, train.onnx and the plan. In: what the compiler made, or a folder. Out: files, or the
// coupled network with its chains. Invariant: files appear whole or not at all; files of others are not touched.

import {
  accessSync,
  constants,
  existsSync,
  mkdirSync,
  readFileSync,
  realpathSync,
  rmSync,
  statSync,
} from 'node:fs';
import { dirname, join, resolve } from 'node:path';
import type { Settings } from '../../passes/index.js';
import { DEFAULT_SETTINGS } from '../../passes/index.js';
import { DiagnosticError } from '../diagnostics/index.js';
import type { Model, Value } from '../ir/index.js';
import { inferTypes } from '../analysis/index.js';
import { atomicWrite, modelDigest, prepareModel, readModel } from '../onnx/index.js';
import { PLAN_SCHEMA_VERSION, formatPlan } from '../plan/index.js';
import type { Plan } from '../plan/index.js';
import type { CoupledChain } from '../reversible/index.js';
import type { Compiled, CompiledModels } from './compile.js';
import { dataFile, outputFiles } from './names.js';
import { buildStep } from './step.js';

const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);

const isOurs = (path: string): boolean => {
  try {
    const plan = JSON.parse(readFileSync(path, 'utf8')) as {
      schemaVersion?: unknown;
      chains?: unknown;
    };
    return plan.schemaVersion === PLAN_SCHEMA_VERSION && Array.isArray(plan.chains);
  } catch {
    return false;
  }
};

/**
 * Refuses, before any work is done, to replace files that an earlier run of ours did not make, and folders that
 * cannot be written to.
 * @param source the model that is read: no result may take its place
 * @throws DiagnosticError usage/output
 */
export function checkOutput(dir: string, name: string, force: boolean, source?: string): void {
  const files = outputFiles(name);
  const refuse = (why: string): DiagnosticError => new DiagnosticError('usage/output', dir, why);
  const existing = nearestExisting(dir);
  if (!statSync(existing).isDirectory()) throw refuse(`${existing} is not a folder`);
  try {
    accessSync(existing, constants.W_OK);
  } catch (error) {
    throw refuse(messageOf(error));
  }
  const taken = [files.rev, files.train, files.plan].filter((file) => existsSync(join(dir, file)));
  if (source !== undefined && existsSync(source))
    for (const file of taken)
      if (realpathSync(join(dir, file)) === realpathSync(source))
        throw new DiagnosticError(
          'usage/output',
          dir,
          `${file} would replace the model that is read`,
          'choose another folder with -o',
        );
  if (taken.length === 0 || force || isOurs(join(dir, files.plan))) return;
  throw refuse(`${taken.join(', ')} exists and is not from an earlier run`);
}

function nearestExisting(path: string): string {
  let at = resolve(path);
  while (!existsSync(at) && dirname(at) !== at) at = dirname(at);
  return at;
}

/**
 * Writes the three files; the plan last, so that a folder with a plan is complete. What a failed write leaves
 * unfinished is removed, the folder too if it was made here.
 * @throws DiagnosticError usage/output
 */
export const writeFolder = (compiled: Compiled, dir: string): string[] =>
  prepareFolder(compiled, compiled.plan.model.name, dir)(compiled.plan);

/** writeFolder in two steps: this one encodes the models and touches no file. @returns what writes the files */
export function prepareFolder(
  { rev, train }: CompiledModels,
  name: string,
  dir: string,
): (plan: Plan) => string[] {
  const files = outputFiles(name);
  const models = [
    { path: join(dir, files.rev), model: rev },
    { path: join(dir, files.train), model: train },
  ].map(({ path, model }) => ({ path, write: prepareModel(model, path) }));
  return (plan) => writePrepared(models, join(dir, files.plan), plan);
}

interface Prepared {
  readonly path: string;
  readonly write: () => string[];
}

function writePrepared(models: readonly Prepared[], planPath: string, plan: Plan): string[] {
  const dir = dirname(planPath);
  let made: string | undefined;
  try {
    made = mkdirSync(dir, { recursive: true });
  } catch (error) {
    throw new DiagnosticError('usage/output', dir, messageOf(error));
  }
  const written = new Set<string>();
  try {
    // An old plan beside new models would describe something else.
    const replaces = isOurs(planPath);
    rmSync(planPath, { force: true });
    for (const { path, write } of models) {
      for (const file of write()) written.add(file);
      const data = dataFile(path);
      if (replaces && !written.has(data)) rmSync(data, { force: true });
    }
    atomicWrite(planPath, formatPlan(plan));
  } catch (error) {
    for (const path of written) rmSync(path, { force: true });
    if (made !== undefined) rmSync(made, { recursive: true, force: true });
    throw error;
  }
  return [...models.map(({ path }) => path), planPath];
}

export interface LoadedFolder {
  readonly rev: Model;
  readonly chains: readonly CoupledChain[];
  readonly settings: Settings;
}

/** Reads rev.onnx and finds the chains the plan names in it. @throws DiagnosticError train/invalid */
export function loadCoupled(dir: string, plan: Plan): LoadedFolder {
  const rev = readModel(join(dir, plan.model.rev));
  rev.graph.sort();
  inferTypes(rev.graph);
  const byName = new Map<string, Value>();
  for (const value of rev.graph.values()) byName.set(value.name, value);
  const value = (name: string): Value => {
    const found = byName.get(name);
    if (!found)
      throw new DiagnosticError(
        'train/invalid',
        plan.model.rev,
        `the plan names ${name}, the model does not have it`,
      );
    return found;
  };
  const chains = plan.chains.map(({ id, output, couplings }) => ({
    id,
    output: value(output),
    couplings: couplings.map((c) => ({
      id: c.id,
      a: value(c.a),
      b: value(c.b),
      f: value(c.f),
      t: value(c.t),
      carried: value(c.carried),
    })),
  }));
  const { batch, target, block, policy, inputShapes } = plan.assumptions;
  const { optimizer, nesterov, clipNorm, accumulate, labelSmoothing, loss } = plan.assumptions;
  const settings: Settings = {
    ...DEFAULT_SETTINGS,
    recipe: plan.recipe as Settings['recipe'],
    policy: policy as Settings['policy'],
    stored: plan.assumptions.stored ?? [],
    target: target as Settings['target'],
    block,
    batch,
    optimizer,
    nesterov,
    clipNorm,
    accumulate,
    labelSmoothing,
    loss,
    output: plan.assumptions.output ?? undefined,
    ignoreIndex: plan.assumptions.ignoreIndex ?? undefined,
    inputShapes: new Map(Object.entries(inputShapes)),
  };
  return { rev, chains, settings };
}

/**
 * Compares train.onnx with the step that rev.onnx and the plan stand for, byte for byte but for metadata and for the
 * file that weights lie in: what is
 * verified is then what is trained.
 * @throws DiagnosticError model/damaged, train/invalid
 */
export function checkStep(dir: string, plan: Plan, { rev, chains, settings }: LoadedFolder): void {
  const path = join(dir, plan.model.train);
  const train = readModel(path);
  const built = buildStep(rev, chains, settings).state.model;
  built.metadata.clear();
  for (const [key, value] of train.metadata) built.metadata.set(key, value);
  if (modelDigest(train) === modelDigest(built)) return;
  throw new DiagnosticError(
    'train/invalid',
    path,
    `it is not the step that ${plan.model.rev} and the plan stand for: changed, or made by another version`,
  );
}
