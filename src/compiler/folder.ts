// A compiled folder: rev.onnx, train.onnx and the plan. In: what the compiler made, or a folder. Out: files, or the
// coupled network with its chains. Invariant: files appear whole or not at all; files of others are not touched.

import { existsSync, mkdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Settings } from '../../passes/index.js';
import { DEFAULT_SETTINGS } from '../../passes/index.js';
import { DiagnosticError } from '../diagnostics/index.js';
import type { Model, Value } from '../ir/index.js';
import { inferTypes } from '../analysis/index.js';
import { atomicWrite, readModel, writeModel } from '../onnx/index.js';
import { PLAN_SCHEMA_VERSION } from '../plan/index.js';
import type { Plan } from '../plan/index.js';
import type { CoupledChain } from '../reversible/index.js';
import type { Compiled } from './compile.js';
import { outputFiles } from './names.js';
import { formatPlan } from './plan.js';

const isOurs = (path: string): boolean => {
  try {
    const plan = JSON.parse(readFileSync(path, 'utf8') as string) as {
      schemaVersion?: unknown;
      chains?: unknown;
    };
    return plan.schemaVersion === PLAN_SCHEMA_VERSION && Array.isArray(plan.chains);
  } catch {
    return false;
  }
};

/**
 * Refuses to replace files that an earlier run of ours did not make.
 * @throws DiagnosticError usage/output
 */
export function checkOutput(dir: string, name: string, force: boolean): void {
  const files = outputFiles(name);
  const taken = Object.values(files).filter((file) => existsSync(join(dir, file)));
  if (taken.length === 0 || force || isOurs(join(dir, files.plan))) return;
  throw new DiagnosticError(
    'usage/output',
    dir,
    `${taken.join(', ')} exists and is not from an earlier run`,
  );
}

/** Writes the three files; the plan last, so that a folder with a plan is complete. */
export function writeFolder(compiled: Compiled, dir: string): string[] {
  const files = outputFiles(compiled.plan.model.name);
  try {
    mkdirSync(dir, { recursive: true });
  } catch (error) {
    throw new DiagnosticError(
      'usage/output',
      dir,
      error instanceof Error ? error.message : String(error),
    );
  }
  const paths = [files.rev, files.train, files.plan].map((file) => join(dir, file));
  const [rev = '', train = '', plan = ''] = paths;
  writeModel(compiled.rev, rev);
  writeModel(compiled.train, train);
  atomicWrite(plan, formatPlan(compiled.plan));
  return paths;
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
  const chains = plan.chains.map(({ id, input, output, couplings }) => ({
    id,
    input: value(input),
    output: value(output),
    couplings: couplings.map((c) => ({
      id: c.id,
      a: value(c.a),
      b: value(c.b),
      f: value(c.f),
      t: value(c.t),
    })),
  }));
  const { batch, target, policy, nesterov, inputShapes } = plan.assumptions;
  const settings: Settings = {
    ...DEFAULT_SETTINGS,
    recipe: plan.recipe as Settings['recipe'],
    policy: policy as Settings['policy'],
    target: target as Settings['target'],
    batch,
    nesterov,
    inputShapes: new Map(Object.entries(inputShapes)),
  };
  return { rev, chains, settings };
}
