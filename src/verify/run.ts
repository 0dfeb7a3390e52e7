// One run of a model by ONNX Runtime. In: a model, operands, the values wanted. Out: their elements. Invariant: the
// session is gone when the result is there.

import { fallbackError, placementsOf } from '../../runtime/device/placement.js';
import { FALLBACK_ALLOWED, deviceError, isFallback } from '../../runtime/device/provider.js';
import type { Device } from '../../runtime/device/provider.js';
import { loadRuntime, messageOf, settingsOf } from '../../runtime/session.js';
import type { Runtime } from '../../runtime/session.js';
import type { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ELEMENT_BYTES, elementCount } from '../ir/index.js';
import type { Model, Tensor, Value } from '../ir/index.js';
import { toInt64 } from '../ir/index.js';
import { TensorData, dataFolders, encodeModel, writeModel } from '../onnx/index.js';

/** ONNX Runtime's graph optimizer takes minutes for more nodes, as many as a deep step has (schedule/deep.ts). */
const MANY = 16_000;

/** Beyond this the weights of a model are handed over by way of a file. */
const LARGE = 2 ** 30;

export interface RunOptions {
  readonly threads?: number | undefined;
  /** Default: the CPU. */
  readonly device?: Device;
}

/**
 * Runs the model once.
 * @param wanted graph outputs to return
 * @throws DiagnosticError runtime/missing, device/unavailable, device/fallback
 */
export async function runOnce(
  model: Model,
  feeds: ReadonlyMap<Value, Tensor>,
  wanted: readonly Value[],
  options: RunOptions = {},
): Promise<Map<Value, Float32Array>> {
  const ort = await loadRuntime();
  const inputs = Object.fromEntries(
    [...feeds].map(([value, tensor]) => [value.name, ortTensor(ort, tensor)]),
  );
  const { session, remove } = await openSession(ort, model, options, inputs);
  try {
    const names = [...new Set(wanted.map((v) => v.name))];
    const results = await session.run(inputs, names);
    const found = new Map<Value, Float32Array>();
    for (const value of wanted) {
      const tensor = results[value.name];
      if (tensor?.data instanceof Float32Array && tensor.data.length === elementCount(tensor.dims))
        found.set(value, tensor.data);
    }
    return found;
  } finally {
    await session.release();
    remove();
  }
}

function ortTensor({ Tensor: Made }: Runtime, { dtype, dims, data }: Tensor): OrtTensor {
  if (dtype === 'int64') return new Made('int64', BigInt64Array.from(data, toInt64), dims);
  if (dtype === 'int32') return new Made('int32', Int32Array.from(data), dims);
  if (dtype === 'bool') return new Made('bool', Uint8Array.from(data), dims);
  return new Made('float32', Float32Array.from(data), dims);
}

/**
 * A session of a model in memory; its data files are read where they lie.
 * @param inputs what it will be run with
 * @returns also what to call when the session is gone
 */
async function openSession(
  runtime: Runtime,
  model: Model,
  { threads, device = 'cpu' }: RunOptions,
  inputs: Readonly<Record<string, OrtTensor>>,
): Promise<{ session: InferenceSession; remove: () => void }> {
  const [folder, ...others] = dataFolders(model);
  const open = async (
    source: string | Uint8Array,
    extra: Readonly<Record<string, unknown>>,
  ): Promise<InferenceSession> => {
    const optimize = model.graph.nodes.size <= MANY;
    const options = { device, optimize, ...(threads === undefined ? {} : { threads }) };
    const settings = settingsOf({ ...options, extra });
    try {
      return typeof source === 'string'
        ? await runtime.InferenceSession.create(source, settings)
        : await runtime.InferenceSession.create(source, settings);
    } catch (error) {
      const message = messageOf(error);
      if (!isFallback(message)) throw deviceError(device, message) ?? error;
      const lenient = settingsOf({ ...options, extra: { ...extra, ...FALLBACK_ALLOWED } });
      throw await fallbackError('the step', () => placementsOf(runtime, source, lenient, inputs));
    }
  };
  if (others.length === 0 && inlineBytes(model) < LARGE) {
    const files =
      folder === undefined ? {} : { model_external_initializers_file_folder_path: folder };
    return { session: await open(encodeModel(model).bytes, files), remove: () => undefined };
  }
  // ONNX Runtime takes data files from one folder only, and no model of 2 GiB from memory.
  const temporary = mkdtempSync(join(tmpdir(), 'revnetify-'));
  const remove = (): void => {
    rmSync(temporary, { recursive: true, force: true });
  };
  try {
    const path = join(temporary, 'model.onnx');
    writeModel(model, path);
    return { session: await open(path, {}), remove };
  } catch (error) {
    remove();
    throw error;
  }
}

/** Weights that would have to be in the bytes of the model. */
function inlineBytes(model: Model): number {
  let sum = 0;
  for (const { constant } of model.graph.constants)
    if (constant && !(constant instanceof TensorData && constant.external))
      sum += elementCount(constant.dims) * ELEMENT_BYTES[constant.dtype];
  return sum;
}
