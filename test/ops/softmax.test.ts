// The cross-entropy loss: against numbers by hand, and what it refuses.

import { expect, test } from 'vitest';
import { Attributes, Tensor, int, string } from '../../src/ir/index.js';
import type { Attribute } from '../../src/ir/index.js';
import { evaluateNode } from '../../src/ops/index.js';
import { singleNode } from './support.js';

const scores = Tensor.of('float32', [2, 3], [0, 0, 0, 1000, 0, 0]);
const labels = Tensor.of('int64', [2], [1, 1]);

function loss(attributes: Record<string, Attribute>, target = labels, ...more: Tensor[]): number[] {
  const inputs = [scores, target, ...more];
  const sample = { label: '', inputs, attributes: new Attributes(attributes) };
  const { node } = singleNode({ type: 'SoftmaxCrossEntropyLoss' }, sample);
  return evaluateNode(node, inputs)[0]?.toArray() ?? [];
}

test('each reduction, with scores that would overflow an exponential', () => {
  const log3 = Math.log(3);
  expect(loss({ reduction: string('none') })).toEqual([log3, 1000]);
  expect(loss({ reduction: string('sum') })).toEqual([log3 + 1000]);
  expect(loss({})).toEqual([(log3 + 1000) / 2]);
});

test('weights, ignore_index, odd reductions and labels out of range are refused', () => {
  const weights = Tensor.of('float32', [3], [1, 1, 1]);
  expect(() => loss({}, labels, weights)).toThrow('class weights');
  expect(() => loss({ ignore_index: int(-100) })).toThrow('ignore_index');
  expect(() => loss({ reduction: string('max') })).toThrow('the reduction is max');
  expect(() => loss({}, Tensor.of('int64', [2], [1, 3]))).toThrow('label 3');
  expect(() => loss({}, Tensor.of('int64', [3], [1, 1, 1]))).toThrow('do not fit');
});
