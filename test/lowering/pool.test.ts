// Lowerings of the pooling gradients against their definitions: overlapping windows, shared maxima, ties.

import { describe, expect, test } from 'vitest';
import { Attributes, Tensor, ints } from '../../src/ir/index.js';
import { Builder, interpret } from '../../src/ops/index.js';
import { poolGradientOps } from '../../src/ops/pool-gradient.js';
import { difference, runOrt, singleNode } from '../ops/support.js';
import { TARGETS, casesOf, errorsOf, lowerNode, lowered, pick } from './agreement.js';

const ops = pick(poolGradientOps, 'MaxPoolGrad', 'AveragePoolGrad');

test.each(casesOf(ops))('%s, %s', async (target, _, op, sample) => {
  const errors = await errorsOf(lowered(op, sample, target));
  expect(errors.double).toBeLessThan(1e-11);
  expect(errors.single).toBeLessThan(1e-5);
});

const line = (...values: number[]): Tensor => Tensor.of('float32', [1, 1, values.length], values);
const overlapping = new Attributes({ kernel_shape: ints([3]), strides: ints([1]) });

describe.each(TARGETS)('%s', (target) => {
  const gradient = async (x: Tensor, y: Tensor, dY: Tensor): Promise<number[] | undefined> => {
    const sample = { label: '', inputs: [x, y, dY], attributes: overlapping };
    const step = lowered(pick(ops, 'MaxPoolGrad')[0] ?? expect.fail(), sample, target);
    const errors = await errorsOf(step);
    expect(errors).toEqual({ double: 0, single: 0 });
    return step.expected[0]?.toArray();
  };

  test('windows that share a maximum add up', async () => {
    const [x, y] = [line(1, 2, 9, 3, 4), line(9, 9, 9)];
    expect(await gradient(x, y, line(1, 10, 100))).toEqual([0, 0, 111, 0, 0]);
  });

  test('of equal maxima the first one of each window gets all', async () => {
    const [x, y] = [line(0, 0, 0, 0, 5), line(0, 0, 5)];
    expect(await gradient(x, y, line(1, 10, 100))).toEqual([1, 10, 0, 0, 100]);
  });

  test('through the MaxPool itself, its indices kept', async () => {
    const x = Tensor.of('float32', [1, 1, 1, 5], [1, 7, 7, 2, 0]);
    const attributes = new Attributes({ kernel_shape: ints([1, 3]), strides: ints([1, 1]) });
    const sample = { label: '', inputs: [x], attributes };
    const { model, graph, node, feeds } = singleNode({ type: 'MaxPool' }, sample);
    const b = new Builder(graph, { phase: 'backward', path: 'backward' });
    const dY = graph.addInput('dY', { dtype: 'float32', shape: [1, 1, 1, 3] });
    feeds.set(dY, Tensor.of('float32', [1, 1, 1, 3], [1, 10, 100]));
    const step = b.node('revnetify.MaxPoolGrad', [node.input(0), node.output(), dY], {
      attributes,
    });
    graph.outputs.push(step.output());
    lowerNode(graph, step, target);
    const pools = [...graph.nodes].filter((n) => n.op === 'MaxPool');
    expect(pools.map((n) => n.outputs.length)).toEqual([target === 'cpu' ? 2 : 1]);
    const expected = Tensor.of('float32', [1, 1, 1, 5], [0, 11, 100, 0, 0]);
    const results = interpret(graph, feeds);
    for (const got of [results.get(step.outputs[0] ?? dY), (await runOrt(model, feeds))[1]])
      if (got) expect(difference(got, expected)).toBe(0);
  });
});
