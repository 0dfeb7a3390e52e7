// One run of a model by ONNX Runtime. In: a model, operands, the values wanted. Out: their elements. Invariant: the
// session is gone when the result is there.

import { loadRuntime } from '../../runtime/session.js';
import { elementCount } from '../ir/index.js';
import type { Model, Tensor, Value } from '../ir/index.js';
import { toInt64 } from '../ir/index.js';
import { encodeModel } from '../onnx/index.js';

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
  const session = await ort.InferenceSession.create(encodeModel(model).bytes, {
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
  }
}
