// One run of a model by ONNX Runtime. In: a model, operands, the values wanted. Out: their elements. Invariant: the
// session is gone when the result is there.

import { loadRuntime } from '../../runtime/session.js';
import type { Runtime } from '../../runtime/session.js';
import type { InferenceSession } from 'onnxruntime-node';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { ELEMENT_BYTES, elementCount } from '../ir/index.js';
import type { Model, Tensor, Value } from '../ir/index.js';
import { toInt64 } from '../ir/index.js';
import { TensorData, dataFolders, encodeModel, writeModel } from '../onnx/index.js';

/** Beyond this the weights of a model are handed over by way of a file. */
const LARGE = 2 ** 30;

/**
 * Runs the model once on the CPU provider.
 * @param wanted graph outputs to return
 * @throws DiagnosticError runtime/missing
 */
export async function runOnce(
  model: Model,
  feeds: ReadonlyMap<Value, Tensor>,
  wanted: readonly Value[],
  threads?: number,
): Promise<Map<Value, Float32Array>> {
  const ort = await loadRuntime();
  const { session, remove } = await openSession(ort, model, {
    executionProviders: ['cpu'],
    graphOptimizationLevel: 'all',
    enableMemPattern: false,
    logSeverityLevel: 3,
    ...(threads === undefined ? {} : { intraOpNumThreads: threads }),
  });
  try {
    const inputs: Record<string, InstanceType<typeof ort.Tensor>> = {};
    for (const [value, { dtype, dims, data }] of feeds)
      inputs[value.name] =
        dtype === 'int64'
          ? new ort.Tensor('int64', BigInt64Array.from(data, toInt64), dims)
          : dtype === 'int32'
            ? new ort.Tensor('int32', Int32Array.from(data), dims)
            : dtype === 'bool'
              ? new ort.Tensor('bool', Uint8Array.from(data), dims)
              : new ort.Tensor('float32', Float32Array.from(data), dims);
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

type Options = NonNullable<Parameters<Runtime['InferenceSession']['create']>[1]>;

/**
 * A session of a model in memory; its data files are read where they lie.
 * @returns also what to call when the session is gone
 */
async function openSession(
  runtime: Runtime,
  model: Model,
  options: Options,
): Promise<{ session: InferenceSession; remove: () => void }> {
  const [folder, ...others] = dataFolders(model);
  if (others.length === 0 && inlineBytes(model) < LARGE) {
    const files = { model_external_initializers_file_folder_path: folder };
    const extra = folder === undefined ? {} : { extra: { session: files } };
    const { bytes } = encodeModel(model);
    const session = await runtime.InferenceSession.create(bytes, { ...options, ...extra });
    return { session, remove: () => undefined };
  }
  // ONNX Runtime takes data files from one folder only, and no model of 2 GiB from memory.
  const temporary = mkdtempSync(join(tmpdir(), 'revnetify-'));
  const remove = (): void => {
    rmSync(temporary, { recursive: true, force: true });
  };
  try {
    const path = join(temporary, 'model.onnx');
    writeModel(model, path);
    return { session: await runtime.InferenceSession.create(path, options), remove };
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
