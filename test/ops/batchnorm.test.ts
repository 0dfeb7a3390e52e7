// Batch norm: what running statistics become, what a recompute and the token do, what is refused.

import { expect, test } from 'vitest';
import { DiagnosticError } from '../../src/diagnostics/index.js';
import { Attributes, Graph, Tensor, float, int } from '../../src/ir/index.js';
import { Builder, Random, evaluateNode, findOp, interpret } from '../../src/ops/index.js';
import { singleNode } from './support.js';

const vector = (...values: number[]): Tensor => Tensor.of('float32', [values.length], values);

test('running statistics keep the share momentum of the old, and the variance is the biased one', () => {
  const inputs = [
    Tensor.of('float32', [4, 1], [1, 3, 5, 7]),
    vector(1),
    vector(0),
    vector(10),
    vector(1),
  ];
  const attributes = new Attributes({ training_mode: int(1), momentum: float(0.75) });
  const sample = { label: '', inputs, attributes, outputs: 3 };
  const { node } = singleNode({ type: 'BatchNormalization' }, sample);
  const [, mean, variance] = evaluateNode(node, inputs);
  // Batch: mean 4, squares 9 + 1 + 1 + 9 over 4 = 5.
  expect(mean?.toArray()).toEqual([0.75 * 10 + 0.25 * 4]);
  expect(variance?.toArray()).toEqual([0.75 * 1 + 0.25 * 5]);
});

test('training mode has no gradient of its own', () => {
  const graph = new Graph();
  const b = new Builder(graph, { phase: 'forward', path: 't' });
  const x = graph.addInput('x', { dtype: 'float32', shape: ['N', 2, 3, 3] });
  const vectors = [1, 2, 3, 4].map((v) => b.constant(vector(v, v)));
  const node = b.node('BatchNormalization', [x, ...vectors], {
    attributes: { training_mode: int(1) },
    outputs: 3,
  });
  expect(node.output().shape).toEqual(['N', 2, 3, 3]);
  const gradient = (): unknown =>
    findOp(node)?.gradient?.({
      node,
      attributes: node.attributes,
      b,
      input: (i) => node.input(i),
      has: () => true,
      output: (i = 0) => node.output(i),
      grad: () => x,
      hasGrad: () => true,
      wants: () => true,
    });
  expect(gradient).toThrow(DiagnosticError);
});

// The mean as well: in the portable form beta is added last, when X has been centred already.
test.each([
  ['BatchNormTrain', [2]],
  ['BatchNormApply', [2, 3]],
] as const)('the token of %s joins operands %s', (type, operands) => {
  const graph = new Graph();
  const b = new Builder(graph, { phase: 'recompute', path: 't' });
  const x = graph.addInput('x', { dtype: 'float32', shape: [2, 2, 3] });
  const token = graph.addInput('token', { dtype: 'float32', shape: [] });
  const vectors = (type === 'BatchNormTrain' ? [1, 2] : [1, 2, 3, 4]).map((v) =>
    b.constant(vector(v, v)),
  );
  const node = b.node(`revnetify.${type}`, [x, ...vectors]);
  graph.outputs.push(node.output());
  const feeds = new Map([
    [x, new Random(1).tensor([2, 2, 3])],
    [token, Tensor.scalar(0)],
  ]);
  const before = interpret(graph, feeds).get(node.output());
  findOp(node)?.guard?.(node, token, b);
  graph.sort();
  for (const index of operands) {
    expect(node.input(index).producer?.inputs).toContain(token);
    expect(node.input(index).shape).toEqual([2]);
  }
  expect(interpret(graph, feeds).get(node.output())).toEqual(before);
});

test('channels that do not fit are refused', () => {
  const b = new Builder(new Graph(), { phase: 'forward', path: 't' });
  const x = b.graph.addInput('x', { dtype: 'float32', shape: [2, 3, 4] });
  const two = b.constant(vector(1, 2));
  expect(() => b.node('revnetify.BatchNormTrain', [x, two, two])).toThrow('2 entries for 3');
});
