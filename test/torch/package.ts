// The PyTorch package of a model, for comparisons. In: a model and settings. Out: what it computes, by the names of
// rev.onnx. Invariant: arrays come back in the layout of the model, whatever layout the package holds them in.

import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import type { Settings } from '../../passes/index.js';
import { buildStep, compile, loadCoupled, writeFolder } from '../../src/compiler/index.js';
import type { LoadedFolder, StepBuild } from '../../src/compiler/index.js';
import { exportTorch, torchPackage } from '../../src/emit/torch/index.js';
import type { Model, Tensor, Value } from '../../src/ir/index.js';
import type { Plan } from '../../src/plan/index.js';
import { askPython } from './python.js';

type StateEntry = ReturnType<typeof torchPackage>['module']['state'][number];

export interface Package {
  /** The compiled folder. */
  readonly dir: string;
  /** The Python package. */
  readonly path: string;
  readonly plan: Plan;
  readonly loaded: LoadedFolder;
  readonly state: readonly StateEntry[];
}

/** Compiles and exports a model, which is used up. */
export function packageOf(model: Model, dir: string, settings: Partial<Settings>): Package {
  const compiled = compile(model, { name: 'net', source: 'net.onnx', ...settings });
  writeFolder(compiled, dir);
  const { path } = exportTorch(dir);
  const { plan, module } = torchPackage(dir);
  return { dir, path, plan, loaded: loadCoupled(dir, plan), state: module.state };
}

/** The step that the folder's plan stands for. */
export const stepOf = ({ loaded }: Package, more: Partial<Settings> = {}): StepBuild =>
  buildStep(loaded.rev, loaded.chains, { ...loaded.settings, ...more });

export interface PackageRun {
  readonly loss: number;
  readonly output: Float64Array;
  readonly gradients: ReadonlyMap<string, Float64Array>;
  /** Running statistics. */
  readonly running: ReadonlyMap<string, Float64Array>;
}

interface Stored {
  readonly file: string;
  readonly shape: readonly number[];
}

interface Answer {
  readonly loss?: number;
  readonly output: Stored;
  readonly gradients?: Readonly<Record<string, Stored>>;
  readonly buffers?: Readonly<Record<string, Stored>>;
}

export interface RunRequest {
  readonly mode: 'reversible' | 'checkpoint' | 'stored';
  readonly dtype: 'float64' | 'float32';
  readonly train?: boolean;
  readonly threads?: number;
  /** A safetensors file; default: that of the package. */
  readonly weights?: string;
}

function save(folder: string, name: string, { dtype, data, dims }: Tensor): object {
  const path = join(folder, `${name}.bin`);
  const isFloat = dtype.startsWith('float');
  const array = isFloat ? data : BigInt64Array.from(data, (x) => BigInt(x));
  writeFileSync(path, new Uint8Array(array.buffer, array.byteOffset, array.byteLength));
  return { path, shape: dims, dtype: isFloat ? 'float64' : 'int64' };
}

/** One pass of the package over what a step was fed. @param feeds inputs of the network and labels by name */
export function runPackage(
  pkg: Package,
  feeds: ReadonlyMap<string, Tensor>,
  { train = true, threads = 1, ...how }: RunRequest,
): PackageRun {
  const out = join(pkg.dir, `answer-${how.mode}-${how.dtype}-${String(train)}`);
  const find = (name: string): Tensor => {
    const tensor = feeds.get(name);
    if (!tensor) throw new Error(`nothing was fed to ${name}`);
    return tensor;
  };
  const named = (role: string): string[] =>
    pkg.plan.inputs.flatMap((i) => (i.role === role ? [i.name] : []));
  const inputs = [...named('images'), ...named('side')].map((name, i) =>
    save(pkg.dir, `input${i}`, find(name)),
  );
  const [labels = ''] = named('labels');
  const answer = askPython('package_reference.py', {
    ...how,
    package: pkg.path,
    train,
    threads,
    inputs,
    out,
    ...(train ? { labels: save(pkg.dir, 'labels', find(labels)) } : {}),
  }) as Answer;
  const read = ({ file }: Stored): Float64Array =>
    new Float64Array(new Uint8Array(readFileSync(join(out, file))).buffer);
  const byName = (entries: Readonly<Record<string, Stored>> = {}): Map<string, Float64Array> => {
    const result = new Map<string, Float64Array>();
    for (const [key, stored] of Object.entries(entries)) {
      const entry = pkg.state.find((s) => s.key === key);
      if (entry) result.set(entry.name, inModelLayout(read(stored), entry));
    }
    return result;
  };
  return {
    loss: answer.loss ?? NaN,
    output: read(answer.output),
    gradients: byName(answer.gradients),
    running: byName(answer.buffers),
  };
}

function inModelLayout(data: Float64Array, { layout, value }: StateEntry): Float64Array {
  if (layout !== 'transposed') return data;
  const [rows = 0, columns = 0] = value.constant?.dims ?? [];
  return data.map((_, i) => data[(i % columns) * rows + Math.floor(i / columns)] ?? NaN);
}

/** Feeds of a step by name. */
export const byName = (feeds: ReadonlyMap<Value, Tensor>): Map<string, Tensor> =>
  new Map([...feeds].map(([value, tensor]) => [value.name, tensor]));
