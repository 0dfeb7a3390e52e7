// Graphs of one node made from a sample, and ONNX Runtime as the oracle, for the tests of the operators.

import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { InlineData, Model, Tensor } from '../../src/ir/index.js';
import type { DataType, Graph, Node, Value } from '../../src/ir/index.js';
import { encodeModel } from '../../src/onnx/index.js';
import { WORKING_OPSET, inferNode } from '../../src/ops/index.js';
import type { OpDefinition, OpSample } from '../../src/ops/index.js';

export interface SingleNode {
  readonly model: Model;
  readonly graph: Graph;
  readonly node: Node;
  /** The operands that are fed. */
  readonly feeds: Map<Value, Tensor>;
}

/** A graph that holds one node, typed, with its outputs as graph outputs. */
export function singleNode(
  definition: Pick<OpDefinition, 'type' | 'domain'>,
  sample: OpSample,
): SingleNode {
  const model = new Model();
  model.opsets.set('', WORKING_OPSET);
  const { graph } = model;
  const feeds = new Map<Value, Tensor>();
  const operands = sample.inputs.map((tensor, i) => {
    if (!tensor) return undefined;
    if (sample.constants?.includes(i)) return graph.addConstant(`in${i}`, new InlineData(tensor));
    const value = graph.addInput(`in${i}`, { dtype: tensor.dtype, shape: tensor.dims });
    feeds.set(value, tensor);
    return value;
  });
  const node = graph.addNode({
    op: definition.type,
    domain: definition.domain ?? '',
    inputs: operands,
    outputs: Array.from({ length: sample.outputs ?? 1 }, (_, i) => `out${i}`),
    ...(sample.attributes ? { attributes: sample.attributes } : {}),
  });
  inferNode(node);
  for (const value of node.outputs) if (value) graph.outputs.push(value);
  return { model, graph, node, feeds };
}

function toOrt(tensor: Tensor): OrtTensor {
  const { dims, data } = tensor;
  switch (tensor.dtype) {
    case 'float32':
      return new OrtTensor('float32', Float32Array.from(data), dims);
    case 'float64':
      return new OrtTensor('float64', data, dims);
    case 'int32':
      return new OrtTensor('int32', Int32Array.from(data), dims);
    case 'int64':
      return new OrtTensor(
        'int64',
        BigInt64Array.from(data, (v) => BigInt(v)),
        dims,
      );
    case 'uint8':
      return new OrtTensor('uint8', Uint8Array.from(data), dims);
    case 'bool':
      return new OrtTensor('bool', Uint8Array.from(data), dims);
    default:
      throw new Error(`tests do not feed ${tensor.dtype}`);
  }
}

function fromOrt(tensor: OrtTensor): Tensor {
  const values = Array.from(tensor.data as ArrayLike<number | bigint | boolean>, Number);
  return Tensor.of(tensor.type as DataType, tensor.dims, values);
}

/** Runs encoded bytes in ONNX Runtime, unoptimized, feeds by name. */
export async function runBytes(
  bytes: Uint8Array,
  feeds: Readonly<Record<string, Tensor>>,
): Promise<Map<string, Tensor>> {
  const session = await InferenceSession.create(bytes, {
    graphOptimizationLevel: 'disabled',
    intraOpNumThreads: 1,
    interOpNumThreads: 1,
    logSeverityLevel: 3,
  });
  try {
    const named = Object.fromEntries(Object.entries(feeds).map(([n, t]) => [n, toOrt(t)]));
    const results = await session.run(named);
    return new Map(Object.entries(results).map(([n, t]) => [n, fromOrt(t)]));
  } finally {
    await session.release();
  }
}

/** Runs a model in ONNX Runtime: its graph outputs in order. */
export async function runOrt(
  model: Model,
  feeds: ReadonlyMap<Value, Tensor>,
): Promise<(Tensor | undefined)[]> {
  const named = Object.fromEntries([...feeds].map(([value, tensor]) => [value.name, tensor]));
  const results = await runBytes(encodeModel(model).bytes, named);
  return model.graph.outputs.map((value) => results.get(value.name));
}

/** Largest difference, relative to the largest finite element (or 1 where all are tiny). */
export function difference(actual: Tensor, expected: Tensor): number {
  let worst = 0;
  let scale = 1e-30;
  expected.data.forEach((want, i) => {
    const got = actual.data[i] ?? NaN;
    if (Object.is(got, want) || got === want) return;
    worst = Math.max(worst, Number.isNaN(got - want) ? Infinity : Math.abs(got - want));
  });
  for (const x of expected.data) if (Number.isFinite(x)) scale = Math.max(scale, Math.abs(x));
  return worst / scale;
}
