// Many nodes in one model, so that hundreds of random cases cost milliseconds. In: samples of operators. Out: a failed
// expectation where the inferred type, the reference and ONNX Runtime are not of one mind.

import { expect } from 'vitest';
import { InlineData, Model } from '../../src/ir/index.js';
import type { Tensor, Value } from '../../src/ir/index.js';
import { WORKING_OPSET, evaluateNode, inferNode } from '../../src/ops/index.js';
import type { OpSample } from '../../src/ops/index.js';
import { runOrt } from './support.js';

export type Sample = Omit<OpSample, 'label'> & { readonly type: string };

const describe = (sample: Sample): string =>
  `${sample.type} ${JSON.stringify(
    sample.inputs.map((t) => t && (t.dtype === 'int64' ? t.toArray() : t.dims)),
  )} ${JSON.stringify(Object.fromEntries(sample.attributes?.entries() ?? []))}`;

/** Integers behind the first operand are constants, unless the sample says which are. */
const isConstant = ({ constants }: Sample, tensor: Tensor, i: number): boolean =>
  constants ? constants.includes(i) : i > 0 && tensor.dtype === 'int64';

/** Largest difference, relative to the largest finite element or 1; not a number beside a number is infinitely far. */
function distance(actual: Tensor, expected: Tensor): number {
  const scale = expected.data.reduce(
    (m, v) => (Number.isFinite(v) ? Math.max(m, Math.abs(v)) : m),
    1,
  );
  return expected.data.reduce((worst, want, i) => {
    const got = actual.data[i] ?? NaN;
    if (Object.is(got, want) || got === want) return worst;
    return Number.isNaN(got - want) ? Infinity : Math.max(worst, Math.abs(got - want) / scale);
  }, 0);
}

/** Runs all samples by the reference and, in one model, by ONNX Runtime. */
export async function agree(list: readonly Sample[], limit = 0): Promise<void> {
  const model = new Model();
  model.opsets.set('', WORKING_OPSET);
  const { graph } = model;
  const feeds = new Map<Value, Tensor>();
  const wanted = list.flatMap((sample, n) => {
    const what = describe(sample);
    const operands = sample.inputs.map((tensor, i) => {
      if (!tensor) return undefined;
      if (isConstant(sample, tensor, i))
        return graph.addConstant(`c${n}.${i}`, new InlineData(tensor));
      const value = graph.addInput(`x${n}.${i}`, { dtype: tensor.dtype, shape: tensor.dims });
      feeds.set(value, tensor);
      return value;
    });
    const node = graph.addNode({
      op: sample.type,
      inputs: operands,
      outputs: Array.from({ length: sample.outputs ?? 1 }, (_, i) => `y${n}.${i}`),
      ...(sample.attributes ? { attributes: sample.attributes } : {}),
    });
    inferNode(node);
    const results = evaluateNode(node, sample.inputs);
    return node.outputs.flatMap((value, i) => {
      const result = results[i];
      if (!value || !result) throw new Error(`${what}: no result ${i}`);
      expect(value.type, what).toEqual({ dtype: result.dtype, shape: result.dims });
      graph.outputs.push(value);
      return [{ what, result }];
    });
  });
  const actual = await runOrt(model, feeds);
  wanted.forEach(({ what, result }, n) => {
    const got = actual[n];
    if (!got) throw new Error(`${what}: ONNX Runtime has no result`);
    expect(got.dims, what).toEqual(result.dims);
    expect(got.dtype, what).toBe(result.dtype);
    expect(distance(got, result), what).toBeLessThanOrEqual(limit);
  });
}
