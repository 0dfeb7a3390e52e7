// Models whose weights are missing: refused with advice, or trained from drawn ones.

import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { preResNet } from '../../fixtures/models.js';
import { Model, int, ints } from '../../src/ir/index.js';
import type { ConstantData, DataType, Graph, Value } from '../../src/ir/index.js';
import { missingWeights, readModel, writeModel } from '../../src/onnx/index.js';
import { drawWeights } from '../../src/reversible/index.js';
import { Program } from './program.js';

const program = new Program();

test('a file without its data file', async () => {
  const path = join(program.folder, 'net.onnx');
  writeModel(preResNet({ depth: 14, width: 8, image: 8, classes: 3 }), path, {
    external: 'always',
  });
  rmSync(`${path}.data`);
  expect(missingWeights(readModel(path)).length).toBeGreaterThan(3);

  const refused = await program.run(path, '--batch', '2');
  expect(refused.code).toBe(6);
  expect(refused.stderr).toMatch(/^error model\/external-data[^]*--weights init/);

  const out = join(program.folder, 'out');
  const drawn = await program.run(
    path,
    '--batch',
    '2',
    '--weights',
    'init',
    '--seed',
    '5',
    '-o',
    out,
  );
  expect(drawn.stderr).toMatch(/note: \d+ weights without data drawn with seed 5/);
  expect(drawn.stdout).toContain('verification at batch 2: passed');
  const rev = readModel(join(out, 'net.rev.onnx'));
  expect(rev.metadata.get('revnetify.initial_weights')).toMatch(/^\d+ drawn, seed 5$/);
  expect(missingWeights(rev)).toEqual([]);
}, 60_000);

const absent = (dtype: DataType, dims: readonly number[]): ConstantData => {
  const load = (): never => {
    throw new Error('there is nothing to load');
  };
  return { dtype, dims, load, bytes: load };
};

const node = (graph: Graph, op: string, inputs: readonly Value[], attributes = {}): Value =>
  graph.addNode({ op, inputs, outputs: [`${op}${graph.nodes.size}`], attributes }).output();

const deviation = ({ constant }: Value): number => {
  const data = constant?.load().toArray() ?? [];
  return Math.sqrt(data.reduce((sum, x) => sum + x * x, 0) / data.length);
};

test('weights start as the operator wants, also behind those that hand them on', () => {
  const { graph } = new Model();
  const x = graph.addInput('x', { dtype: 'float32', shape: [2, 64] });
  const weight = (name: string, ...dims: number[]): Value =>
    graph.addConstant(name, absent('float32', dims));
  const w = weight('w', 64, 200);
  const turned = weight('turned', 50, 200);
  const scale = weight('scale', 50);
  const bias = weight('bias', 50);
  const hidden = node(graph, 'MatMul', [x, w]);
  const transposed = node(graph, 'Transpose', [turned], { perm: ints([1, 0]) });
  const wide = node(graph, 'MatMul', [hidden, node(graph, 'Cast', [transposed], { to: int(1) })]);
  graph.outputs.push(node(graph, 'Add', [node(graph, 'Mul', [wide, scale]), bias]));
  drawWeights([w, turned, scale, bias], 3);
  expect(deviation(w) / Math.sqrt(2 / 64)).toBeCloseTo(1, 1);
  expect(deviation(turned) / Math.sqrt(2 / 200)).toBeCloseTo(1, 1);
  expect(new Set(scale.constant?.load().toArray())).toEqual(new Set([1]));
  expect(new Set(bias.constant?.load().toArray())).toEqual(new Set([0]));
});

test('what is no weight is not made up', () => {
  const { graph } = new Model();
  const x = graph.addInput('x', { dtype: 'float32', shape: [2, 64] });
  const shape = graph.addConstant('shape', absent('int64', [2]));
  graph.outputs.push(node(graph, 'Reshape', [x, shape]));
  expect(() => {
    drawWeights([shape], 0);
  }).toThrow(/^model\/missing-weights[^]*tensor shape[^]*int64\[2\]/);
});
