// The package as files. In: a compiled folder. Out: NAME_torch/ with its modules, weights, plan and README. Invariant: the
// folder appears whole or not at all, and what a user may have edited is not replaced unasked.

import {
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  renameSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join, resolve } from 'node:path';
import { findPlan, readPlan } from '../../../runtime/index.js';
import { writeRawTensors } from '../../../runtime/safetensors.js';
import type { RawTensor } from '../../../runtime/safetensors.js';
import { loadCoupled } from '../../compiler/index.js';
import { DiagnosticError } from '../../diagnostics/index.js';
import { ELEMENT_BYTES, elementCount } from '../../ir/index.js';
import type { ConstantData } from '../../ir/index.js';
import type { Plan } from '../../plan/index.js';
import { writeModule } from './model.js';
import type { Module, StateEntry } from './model.js';
import { identifier } from './names.js';
import { networkOf } from './network.js';
import { readmeOf } from './readme.js';
import { moduleShape, transposed } from './layouts.js';

/** Files that are the same in every package; real Python, so that tools can check them. */
const STATIC = new URL('./package/', import.meta.url);

export interface TorchPackage {
  readonly plan: Plan;
  readonly module: Module;
}

export interface ExportOptions {
  /** Folder that the package is written into, as NAME_torch; default: the compiled folder. */
  readonly to?: string;
  /** Replace a package that is there. */
  readonly force?: boolean;
}

export interface Exported {
  /** Path of the package. */
  readonly path: string;
  /** Names of its files. */
  readonly files: readonly string[];
  readonly className: string;
  /** Tensors of its state_dict, and how many numbers they hold. */
  readonly tensors: number;
  readonly elements: number;
}

/** The module of a compiled folder, not written yet. @throws DiagnosticError train/invalid, export/operator */
export function torchPackage(dir: string): TorchPackage {
  const { plan } = readPlan(dir);
  const network = networkOf(loadCoupled(dir, plan), plan);
  return { plan, module: writeModule(network, plan) };
}

/** Name of a package; one that Python can import. */
export const packageName = (plan: Plan): string => `${identifier(plan.model.name, 'model')}_torch`;

/** Element types as safetensors calls them. */
const DTYPES: Readonly<Record<string, string>> = {
  float32: 'F32',
  int64: 'I64',
  int32: 'I32',
  int8: 'I8',
  uint8: 'U8',
  bool: 'BOOL',
};

function rawTensor({ key, name, value, layout }: StateEntry): RawTensor {
  const data = value.constant as ConstantData;
  const dtype = DTYPES[data.dtype];
  if (dtype === undefined)
    throw new DiagnosticError('export/operator', `constant ${name}`, `it is ${data.dtype}`);
  return {
    name: key,
    dtype,
    shape: moduleShape(data.dims, layout),
    byteLength: elementCount(data.dims) * ELEMENT_BYTES[data.dtype],
    bytes: () => (layout === 'transposed' ? transposed(data) : data.bytes()),
  };
}

/**
 * Writes the package of a compiled folder.
 * @throws DiagnosticError train/invalid, export/operator, usage/output
 */
export function exportTorch(dir: string, options: ExportOptions = {}): Exported {
  const { plan, module } = torchPackage(dir);
  const path = join(options.to ?? dir, packageName(plan));
  if (existsSync(path) && options.force !== true)
    throw new DiagnosticError(
      'usage/output',
      path,
      'it is there already, perhaps with changes of yours',
      'pass --force to replace it, or -o DIR to write elsewhere',
    );
  const unfinished = `${resolve(path)}.${process.pid}.tmp`;
  try {
    mkdirSync(unfinished, { recursive: true });
    for (const name of readdirSync(STATIC))
      if (name.endsWith('.py'))
        writeFileSync(join(unfinished, name), readFileSync(new URL(name, STATIC)));
    writeFileSync(join(unfinished, 'model.py'), module.text);
    writeFileSync(join(unfinished, 'plan.json'), readFileSync(findPlan(dir)));
    writeFileSync(join(unfinished, 'README.md'), readmeOf(plan, packageName(plan), module));
    const words = { 'revnetify.model': plan.model.name };
    writeRawTensors(join(unfinished, 'weights.safetensors'), words, module.state.map(rawTensor));
    rmSync(path, { recursive: true, force: true });
    renameSync(unfinished, path);
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    if (error instanceof DiagnosticError) throw error;
    const why = error instanceof Error ? error.message : String(error);
    throw new DiagnosticError('usage/output', path, why);
  }
  return {
    path,
    files: readdirSync(path).sort(),
    className: module.className,
    tensors: module.state.length,
    elements: module.state.reduce(
      (n, { value }) => n + elementCount(value.constant?.dims ?? []),
      0,
    ),
  };
}
