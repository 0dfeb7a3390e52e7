// Layer normalization as exports before opset 17 spell it: found where it is one, and the result stays what it was.

import { expect, test } from 'vitest';
import { findLayerNorm } from '../../passes/find-layer-norm.js';
import { createState } from '../../passes/index.js';
import { inferTypes } from '../../src/analysis/index.js';
import { InlineData, Model, Tensor, float, ints } from '../../src/ir/index.js';
import type { AttributeMap, Value } from '../../src/ir/index.js';
import { Random, interpret } from '../../src/ops/index.js';
import { runPipeline } from '../../src/rewrite/index.js';

interface Choice {
  readonly axes?: number;
  readonly exponent?: number;
  /** Shape of scale and bias. */
  readonly rows?: readonly number[];
}

function spelled({ axes = -1, exponent = 2, rows = [6] }: Choice): { model: Model; x: Value } {
  const model = new Model();
  model.opsets.set('', 17);
  const { graph } = model;
  const random = new Random(2);
  const x = graph.addInput('x', { dtype: 'float32', shape: [2, 5, 6] });
  const constant = (name: string, tensor: Tensor): Value =>
    graph.addConstant(name, new InlineData(tensor));
  const node = (op: string, inputs: Value[], attributes: AttributeMap = {}): Value =>
    graph.addNode({ op, inputs, outputs: [`y${graph.nodes.size}`], attributes }).output();
  const centred = node('Sub', [x, node('ReduceMean', [x], { axes: ints([axes]) })]);
  const power = node('Pow', [centred, constant('two', Tensor.scalar(exponent))]);
  const variance = node('ReduceMean', [power], { axes: ints([axes]) });
  const sum = node('Add', [variance, constant('epsilon', Tensor.scalar(Math.fround(1e-3)))]);
  const normal = node('Div', [centred, node('Sqrt', [sum])]);
  const scaled = node('Mul', [normal, constant('scale', random.tensor(rows))]);
  graph.outputs.push(node('Add', [scaled, constant('bias', random.tensor(rows))]));
  inferTypes(graph);
  return { model, x };
}

function found(choice: Choice): boolean {
  const { model, x } = spelled(choice);
  const feeds = new Map([[x, new Random(7).tensor([2, 5, 6])]]);
  const result = (): number[] => {
    const [out] = model.graph.outputs;
    return out ? [...(interpret(model.graph, feeds).get(out)?.data ?? [])] : [];
  };
  const before = result();
  runPipeline([findLayerNorm], createState(model));
  expect(before).toHaveLength(60);
  result().forEach((y, i) => expect(y).toBeCloseTo(before[i] ?? NaN, 12));
  const ops = [...model.graph.nodes].map(({ op }) => op);
  const node = [...model.graph.nodes].find(({ op }) => op === 'LayerNormalization');
  if (node) expect(node.attributes.get('epsilon')).toEqual(float(Math.fround(1e-3)));
  return ops.length === 1 && node !== undefined;
}

test('over the last axis, with rows of it', () => {
  expect(found({})).toBe(true);
  expect(found({ axes: 2 })).toBe(true);
});

test('nothing else is taken for it', () => {
  expect(found({ axes: 1, rows: [6] })).toBe(false);
  expect(found({ rows: [5, 1] })).toBe(false);
  expect(found({ exponent: 4 })).toBe(false);
});
