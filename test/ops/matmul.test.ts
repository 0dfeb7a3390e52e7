// MatMul and Gemm: known products, shapes with unknown extents, and every gradient through the whole
// small graph its rule builds.

import { expect, test } from 'vitest';
import { Attributes, Graph, Tensor, float, int } from '../../src/ir/index.js';
import type { Shape } from '../../src/ir/index.js';
import { Builder, Random, allOps, evaluateNode, interpret } from '../../src/ops/index.js';

const build = (): { graph: Graph; b: Builder } => {
  const graph = new Graph();
  return { graph, b: new Builder(graph, { phase: 'forward', path: 't' }) };
};

function shapeOf(
  op: string,
  shapes: readonly Shape[],
  attributes = new Attributes({}),
): Shape | undefined {
  const { graph, b } = build();
  const operands = shapes.map((shape, i) => graph.addInput(`i${i}`, { dtype: 'float32', shape }));
  return b.op(op, operands, { attributes }).shape;
}

function run(op: string, inputs: readonly Tensor[], attributes = new Attributes({})): Tensor {
  const { graph, b } = build();
  const operands = inputs.map((t, i) =>
    graph.addInput(`i${i}`, { dtype: 'float32', shape: t.dims }),
  );
  const [result] = evaluateNode(b.node(op, operands, { attributes }), inputs);
  if (!result) throw new Error('no result');
  return result;
}

const f32 = (dims: readonly number[], ...values: number[]): Tensor =>
  Tensor.of('float32', dims, values);

const dot = (a: Float64Array, b: Float64Array): number =>
  a.reduce((sum, v, i) => sum + v * (b[i] ?? NaN), 0);

test('products by hand', () => {
  const a = f32([2, 3], 1, 2, 3, 4, 5, 6);
  expect(run('MatMul', [a, f32([3, 2], 1, 0, 0, 1, 1, 1)]).toArray()).toEqual([4, 5, 10, 11]);
  expect(run('MatMul', [a, f32([3], 1, 1, 1)])).toMatchObject({ dims: [2] });
  expect(run('MatMul', [a, f32([3], 1, 1, 1)]).toArray()).toEqual([6, 15]);
  expect(run('MatMul', [f32([2], 1, 10), a]).toArray()).toEqual([41, 52, 63]);
  expect(run('MatMul', [f32([2], 1, 2), f32([2], 3, 4)])).toMatchObject({ dims: [] });
  // Batch 1 against batch 2 on one axis, the other way round on the other.
  const p = run('MatMul', [f32([2, 1, 1, 1], 2, 3), f32([1, 2, 1, 1], 5, 7)]);
  expect(p.dims).toEqual([2, 2, 1, 1]);
  expect(p.toArray()).toEqual([10, 14, 15, 21]);
});

test('Gemm by hand', () => {
  const a = f32([2, 3], 1, 2, 3, 4, 5, 6);
  const w = f32([2, 3], 1, 0, 1, 0, 1, 0);
  const attributes = new Attributes({ transB: int(1), alpha: float(2), beta: float(10) });
  expect(run('Gemm', [a, w], attributes).toArray()).toEqual([8, 4, 20, 10]);
  expect(run('Gemm', [a, w, f32([2], 1, 2)], attributes).toArray()).toEqual([18, 24, 30, 30]);
  expect(run('Gemm', [a, w, f32([2, 1], 1, 2)], attributes).toArray()).toEqual([18, 14, 40, 30]);
  expect(run('Gemm', [a, w, f32([], 1)], attributes).toArray()).toEqual([18, 14, 30, 20]);
  const tn = new Attributes({ transA: int(1) });
  expect(run('Gemm', [a, f32([2, 1], 1, 1)], tn).toArray()).toEqual([5, 7, 9]);
});

test('unknown extents pass through and misfits are refused', () => {
  expect(
    shapeOf('MatMul', [
      ['N', 'T', 8],
      [8, 4],
    ]),
  ).toEqual(['N', 'T', 4]);
  expect(
    shapeOf('MatMul', [
      ['N', 2, 'T', 8],
      ['N', 2, 8, 'T'],
    ]),
  ).toEqual(['N', 2, 'T', 'T']);
  expect(
    shapeOf('MatMul', [
      ['N', 'K'],
      [8, 4],
    ]),
  ).toEqual(['N', 4]);
  expect(shapeOf('Gemm', [['N', 8], [4, 8], [4]], new Attributes({ transB: int(1) }))).toEqual([
    'N',
    4,
  ]);
  expect(() =>
    shapeOf('MatMul', [
      [2, 3],
      [4, 5],
    ]),
  ).toThrow(/inner extents 3 and 4/);
  expect(() =>
    shapeOf('MatMul', [
      [2, 2, 3],
      [3, 3, 5],
    ]),
  ).toThrow(/broadcast/);
  expect(() => shapeOf('Gemm', [[2, 3], [3, 5], [4]])).toThrow(/does not broadcast/);
  expect(() =>
    shapeOf('Gemm', [
      [2, 2, 3],
      [3, 5],
    ]),
  ).toThrow(/matrices/);
});

const samples = ['MatMul', 'Gemm'].flatMap((type) => {
  const definition = allOps().find((op) => op.type === type);
  return (definition?.samples?.(new Random(3)) ?? []).map(
    (sample) => [type, sample.label, sample] as const,
  );
});

test.each(samples)('%s: gradients of %s', (type, _, sample) => {
  const inputs = sample.inputs.filter((t) => t !== undefined);
  const { graph, b } = build();
  const operands = inputs.map((t, i) =>
    graph.addInput(`i${i}`, { dtype: 'float32', shape: t.dims }),
  );
  const node = b.node(type, operands, sample.attributes ? { attributes: sample.attributes } : {});
  const [result] = evaluateNode(node, inputs);
  if (!result) throw new Error('no result');
  expect(result.dims).toEqual(node.output().shape);
  const dY = new Random(5).tensor(result.dims);
  const grad = graph.addInput('dY', { dtype: 'float32', shape: dY.dims });
  const gradients = allOps()
    .find((op) => op.type === type)
    ?.gradient?.({
      node,
      attributes: node.attributes,
      b,
      input: (i) => node.input(i),
      has: (i) => node.inputs[i] !== undefined,
      output: (i = 0) => node.output(i),
      grad: () => grad,
      hasGrad: () => true,
      wants: () => true,
    });
  for (const value of gradients ?? []) if (value) graph.outputs.push(value);
  const feeds = new Map(operands.map((value, i) => [value, inputs[i] ?? dY] as const));
  const results = interpret(graph, feeds.set(grad, dY));
  // Affine in every operand: a change of the operand by any v changes <Y, dY> by exactly <v, gradient>.
  inputs.forEach((operand, index) => {
    const v = new Random(11 + index).tensor(operand.dims);
    const moved = inputs.map((t, i) =>
      i === index
        ? Tensor.of(
            'float32',
            t.dims,
            t.data.map((e, j) => e + (v.data[j] ?? NaN)),
          )
        : t,
    );
    const [changed] = evaluateNode(node, moved);
    const value = gradients?.[index];
    const gradient = value && results.get(value);
    expect(gradient?.dims).toEqual(operand.dims);
    expect(value?.shape).toEqual(operand.dims);
    expect(dot(v.data, gradient?.data ?? new Float64Array())).toBeCloseTo(
      dot(changed?.data ?? new Float64Array(), dY.data) - dot(result.data, dY.data),
      9,
    );
  });
});

test('gradients keep an unknown batch', () => {
  const { graph, b } = build();
  const x = graph.addInput('x', { dtype: 'float32', shape: ['N', 'T', 8] });
  const w = graph.addInput('w', { dtype: 'float32', shape: [8, 4] });
  const node = b.node('MatMul', [x, w]);
  const grad = graph.addInput('dY', { dtype: 'float32', shape: ['N', 'T', 4] });
  const [dX, dW] =
    allOps()
      .find((op) => op.type === 'MatMul')
      ?.gradient?.({
        node,
        attributes: node.attributes,
        b,
        input: (i) => node.input(i),
        has: () => true,
        output: (i = 0) => node.output(i),
        grad: () => grad,
        hasGrad: () => true,
        wants: () => true,
      }) ?? [];
  expect(dX?.shape).toEqual(['N', 'T', 8]);
  expect(dW?.shape).toEqual([8, 4]);
});
