// Weights trained in PyTorch → the trained model. In: the compiled folder and a safetensors file, by the names of the
// module's state_dict or by those of rev.onnx. Out: NAME.trained.onnx. Invariant: every weight and statistic of the
// network is there, in its shape, and finite, or nothing is written.

import { DiagnosticError } from '../../diagnostics/index.js';
import { openTensors } from '../../../runtime/tensor-file.js';
import type { TensorFile } from '../../../runtime/tensor-file.js';
import { writeTrained } from '../../../runtime/trained.js';
import type { TrainedFacts } from '../../../runtime/trained.js';
import { torchPackage } from './files.js';
import { modelFloats, moduleShape } from './layouts.js';
import type { StateEntry } from './model.js';

export interface Imported {
  /** Path of the trained model. */
  readonly path: string;
  readonly weights: number;
  readonly statistics: number;
}

/** What PyTorch counts beside the tensors. */
const COUNTER = '.num_batches_tracked';
/** What wrappers put before the names: DistributedDataParallel, torch.compile. */
const WRAPPERS = /^(?:module\.|_orig_mod\.)+/;

const refuse = (path: string, why: string, hint?: string): DiagnosticError =>
  new DiagnosticError('import/weights', path, why, hint);

/** Tensors of the file by what they are called without wrappers. */
type Names = ReadonlyMap<string, string>;

const someOf = (names: readonly string[]): string =>
  `${names.slice(0, 3).join(', ')}${names.length > 3 ? ` and ${names.length - 3} more` : ''}`;

function checkNames(state: readonly StateEntry[], there: Names, path: string): void {
  const missing = state.filter(({ key, name }) => !there.has(key) && !there.has(name));
  if (missing.length > 0)
    throw refuse(
      path,
      `${missing.length} of ${state.length} tensors are missing: ${someOf(missing.map(({ key }) => key))}`,
    );
  const known = new Set(state.flatMap(({ key, name }) => [key, name]));
  const foreign = [...there.keys()].filter((name) => !known.has(name) && !name.endsWith(COUNTER));
  if (foreign.length > 0)
    throw refuse(
      path,
      `${foreign.length} tensors belong to no layer of this model: ${someOf(foreign)}`,
      'pass the folder that the package was exported from; layers that were added by hand have no place in the ONNX model',
    );
}

const FLOATS: ReadonlySet<string> = new Set(['F32', 'F16', 'BF16']);

/** One tensor in the layout of the model. */
function floatsOf(entry: StateEntry, file: TensorFile, there: Names, path: string): Float32Array {
  const { key, name, value, layout } = entry;
  const byKey = there.get(key);
  const source = byKey ?? there.get(name) ?? key;
  const dims = value.constant?.dims ?? [];
  const found = file.entries.get(source);
  const wanted = byKey === undefined ? dims : moduleShape(dims, layout);
  const shape = (d: readonly number[]): string => `[${d.join(', ')}]`;
  if (found?.shape.join() !== wanted.join())
    throw refuse(path, `${source} is ${shape(found?.shape ?? [])}, the model has ${shape(wanted)}`);
  if (!FLOATS.has(found.dtype))
    throw refuse(
      path,
      `${source} is ${found.dtype}, the model's weights are float32`,
      'save it in float32: {name: t.float() for name, t in model.state_dict().items()}',
    );
  const floats = file.floats(source);
  if (!floats.every(Number.isFinite))
    throw refuse(path, `${source} holds numbers that are not finite`);
  return byKey === undefined ? floats : modelFloats(floats, dims, layout);
}

const same = (a: Float32Array, b: Float32Array): boolean => a.every((x, i) => x === b[i]);

/**
 * Writes NAME.trained.onnx with weights of a safetensors file.
 * @param to folder it is written to; default: dir
 * @throws DiagnosticError train/invalid, import/weights, usage/output
 */
export function importTorch(dir: string, path: string, to = dir): Imported {
  const { plan, module } = torchPackage(dir);
  // Constants that are not trained stay as they are.
  const changing = new Set(
    plan.inputs.flatMap(({ role, name }) =>
      role === 'weight' || role === 'statistic' ? [name] : [],
    ),
  );
  const state = module.state.filter(({ name }) => changing.has(name));
  const constants = module.state.filter(({ name }) => !changing.has(name));
  let file: TensorFile;
  try {
    file = openTensors(path);
  } catch (error) {
    throw refuse(path, error instanceof Error ? error.message : String(error));
  }
  try {
    const there = new Map(
      [...file.entries.keys()].map((name) => [name.replace(WRAPPERS, ''), name]),
    );
    checkNames([...state, ...constants], there, path);
    const values = new Map<string, Float32Array>();
    for (const entry of state) {
      const floats = floatsOf(entry, file, there, path);
      const known = values.get(entry.name);
      if (known && !same(known, floats))
        throw refuse(
          path,
          `${entry.key} and another layer are one weight in the model, and differ here`,
        );
      values.set(entry.name, floats);
    }
    const statistics = plan.inputs.filter(
      (i) => i.role === 'statistic' && values.has(i.name),
    ).length;
    const written = writeTrained(dir, plan, values, factsOf(file, path), to);
    return { path: written, weights: values.size - statistics, statistics };
  } finally {
    file.close();
  }
}

/** What train.py has written beside the weights; other files say nothing. */
function factsOf({ metadata }: TensorFile, path: string): TrainedFacts {
  const steps = Number(metadata['revnetify.steps'] ?? NaN);
  const text = metadata['revnetify.normalisation'];
  if (text === undefined) return Number.isFinite(steps) ? { steps } : {};
  try {
    const normalise = JSON.parse(text) as NonNullable<TrainedFacts['normalise']>;
    return { ...(Number.isFinite(steps) ? { steps } : {}), normalise };
  } catch {
    throw refuse(path, 'its metadata revnetify.normalisation is no JSON');
  }
}
