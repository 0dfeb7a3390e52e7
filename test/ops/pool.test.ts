// Poolings written out by hand: what padding counts, which windows ceil_mode makes, where maxima point.

import { expect, test } from 'vitest';
import { Attributes, Graph, Tensor, int, ints, string } from '../../src/ir/index.js';
import type { Attribute, Shape } from '../../src/ir/index.js';
import { Builder, evaluateNode } from '../../src/ops/index.js';
import { singleNode } from './support.js';

const kernel = { kernel_shape: ints([3]), strides: ints([2]), pads: ints([1, 1]) };

function run(op: string, attributes: Record<string, Attribute>, ...x: number[]): number[][] {
  const inputs = [Tensor.of('float32', [1, 1, x.length], x)];
  const sample = { label: '', inputs, attributes: new Attributes(attributes), outputs: 2 };
  const { node } = singleNode({ type: op }, { ...sample, outputs: op === 'MaxPool' ? 2 : 1 });
  return evaluateNode(node, inputs).map((t) => t.toArray());
}

test('an average leaves padding out, or counts it, but never what lies beyond it', () => {
  const ceil = { ...kernel, ceil_mode: int(1) };
  expect(run('AveragePool', kernel, 1, 2, 3, 4, 5, 6)).toEqual([[1.5, 3, 5]]);
  expect(run('AveragePool', ceil, 1, 2, 3, 4, 5, 6)).toEqual([[1.5, 3, 5, 6]]);
  const counted = { ...ceil, count_include_pad: int(1) };
  expect(run('AveragePool', counted, 1, 2, 3, 4, 5, 6)).toEqual([[1, 3, 5, 3]]);
});

test('no window starts in the padding at the end', () => {
  const attributes = { kernel_shape: ints([1]), strides: ints([2]), ceil_mode: int(1) };
  expect(run('MaxPool', attributes, 1, 2, 3, 4)).toEqual([
    [1, 3],
    [0, 2],
  ]);
});

test('of equal maxima the first is pointed to, and padding is no maximum', () => {
  expect(run('MaxPool', kernel, -1, -1, -5, -2, -2)).toEqual([
    [-1, -1, -2],
    [0, 1, 3],
  ]);
});

test('SAME pads uneven windows at the named end', () => {
  const same = (end: string): number[][] =>
    run('MaxPool', { kernel_shape: ints([2]), strides: ints([2]), auto_pad: string(end) }, 1, 2, 3);
  expect(same('SAME_UPPER')[0]).toEqual([2, 3]);
  expect(same('SAME_LOWER')[0]).toEqual([1, 3]);
});

test('SAME with dilations is refused, as ONNX Runtime has pads of its own for it', () => {
  const same = { ...kernel, pads: ints([0, 0]), auto_pad: string('SAME_UPPER') };
  expect(() => run('MaxPool', { ...same, dilations: ints([2]) }, 1, 2, 3, 4)).toThrow(
    'op/unsupported',
  );
  expect(run('MaxPool', { ...same, dilations: ints([1]) }, 1, 2, 3, 4)[0]).toEqual([3, 4]);
});

test('a symbolic batch passes through, a symbolic extent where the window keeps it', () => {
  const shapeOf = (shape: Shape, attributes: Record<string, Attribute>): Shape | undefined => {
    const b = new Builder(new Graph(), { phase: 'forward', path: 't' });
    const x = b.graph.addInput('x', { dtype: 'float32', shape });
    return b.op('MaxPool', [x], { attributes }).shape;
  };
  expect(shapeOf(['N', 3, 8], kernel)).toEqual(['N', 3, 4]);
  const keeps = { kernel_shape: ints([3]), pads: ints([1, 1]) };
  expect(shapeOf(['N', 3, 'L'], keeps)).toEqual(['N', 3, 'L']);
  expect(shapeOf(['N', 3, 'L'], kernel)?.[2]).toMatch(/^\?/);
});
