// The lowering of a slice's gradient: on every sample of the operator and on random slices, in ONNX Runtime and
// by the reference, for both targets. Elements are only moved, so results must be equal exactly.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Attributes, Model, Tensor, ints } from '../../src/ir/index.js';
import type { Value } from '../../src/ir/index.js';
import { applyLowering, findLowering } from '../../src/lowering/index.js';
import type { Target } from '../../src/lowering/index.js';
import {
  Builder,
  Random,
  WORKING_OPSET,
  allOps,
  evaluateNode,
  interpret,
  sliceGradRanges,
} from '../../src/ops/index.js';
import type { OpSample } from '../../src/ops/index.js';
import { difference, runOrt } from '../ops/support.js';

const TARGETS: readonly Target[] = ['cpu', 'portable'];

/** Runs all samples in one model, lowered. */
async function agree(list: readonly OpSample[], target: Target): Promise<void> {
  const model = new Model();
  model.opsets.set('', WORKING_OPSET);
  const { graph } = model;
  const b = new Builder(graph, { phase: 'backward', path: 'backward' });
  const feeds = new Map<Value, Tensor>();
  const expected: Tensor[] = [];
  for (const sample of list) {
    const [dy] = sample.inputs;
    if (!dy || !sample.attributes) throw new Error('a sample without operand');
    const grad = graph.addInput('dY', { dtype: dy.dtype, shape: dy.dims });
    feeds.set(grad, dy);
    const node = b.node('revnetify.SliceGrad', [grad], { attributes: sample.attributes });
    graph.outputs.push(node.output());
    const [result] = evaluateNode(node, [dy]);
    if (result) expected.push(result);
    const rule = findLowering(node, target);
    if (!rule) throw new Error('no lowering');
    applyLowering(graph, node, rule, b);
  }
  graph.sort();
  for (const node of graph.nodes) expect(node.domain).toBe('');
  const reference = interpret(graph, feeds);
  const actual = await runOrt(model, feeds);
  list.forEach((sample, i) => {
    const [want, got, value] = [expected[i], actual[i], graph.outputs[i]];
    if (!want || !got || !value) throw new Error('no result');
    expect(value.shape, sample.label).toEqual(want.dims);
    expect(got.dims, sample.label).toEqual(want.dims);
    expect(difference(got, want), sample.label).toBe(0);
    expect(difference(reference.get(value) ?? got, want), sample.label).toBe(0);
  });
}

describe.each(TARGETS)('%s', (target) => {
  test('every sample of the operator', async () => {
    const op = allOps().find((o) => o.type === 'SliceGrad');
    await agree(op?.samples?.(new Random(3)) ?? [], target);
  });

  test('random slices', async () => {
    const bound = fc.oneof(fc.integer({ min: -7, max: 7 }), fc.constantFrom(2 ** 63, -(2 ** 63)));
    const step = fc.constantFrom(1, 2, 3, 5, -1, -2, -3);
    const one = fc.tuple(fc.integer({ min: 1, max: 6 }), bound, bound, step);
    const lists = fc.sample(fc.array(one, { minLength: 1, maxLength: 3 }), {
      numRuns: 300,
      seed: 4,
    });
    const random = new Random(5);
    const samples = lists.map((axes): OpSample => {
      const attributes = new Attributes({
        input_shape: ints(axes.map(([extent]) => extent)),
        starts: ints(axes.map(([, start]) => start)),
        ends: ints(axes.map(([, , end]) => end)),
        steps: ints(axes.map(([, , , by]) => by)),
        axes: ints(axes.map((_, i) => i)),
      });
      const counts = sliceGradRanges(attributes).map((r) => r.count);
      return { label: JSON.stringify(axes), inputs: [random.tensor(counts)], attributes };
    });
    await agree(samples, target);
  });
});
