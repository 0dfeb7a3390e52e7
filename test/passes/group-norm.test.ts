// Group normalization as PyTorch exports it: found, followed through changes of width, spelled out again in what is
// written.

import { expect, test } from 'vitest';
import { preResNet } from '../../fixtures/models.js';
import { importPipeline } from '../../passes/catalogue.js';
import { expandGroupNorm } from '../../passes/expand-group-norm.js';
import { findGroupNorm } from '../../passes/find-group-norm.js';
import { createState } from '../../passes/index.js';
import { compile } from '../../src/compiler/index.js';
import { Attributes, InlineData, Tensor, float } from '../../src/ir/index.js';
import type { Graph, Model, Node, Value } from '../../src/ir/index.js';
import { encodeModel } from '../../src/onnx/index.js';
import { Random } from '../../src/ops/index.js';
import { runPipeline } from '../../src/rewrite/index.js';
import { difference, runBytes } from '../ops/support.js';

const random = new Random(5);

/** Puts group normalization in the place of a batch norm, spelled as the TorchScript exporter does. */
function spellOut(graph: Graph, node: Node, groups: number): void {
  const { name } = node;
  const constant = (what: string, tensor: Tensor): Value =>
    graph.addConstant(`${name}.${what}`, new InlineData(tensor));
  const make = (op: string, what: string, inputs: Value[], attributes = {}): Value =>
    graph
      .addNode({ op, name: `${name}/${what}`, inputs, outputs: [`${name}/${what}`], attributes })
      .output();
  const channels = node.input(1).constant?.dims[0] ?? 0;
  const x = node.input(0);
  const filled = (value: number): Tensor =>
    Tensor.of('float32', [groups], new Array<number>(groups).fill(value));
  const column = (shift: number): Tensor => random.tensor([channels, 1, 1], 0.2, shift);
  const rows = make('Reshape', 'rows', [x, constant('target', Tensor.ints([0, groups, -1]))]);
  const normal = make(
    'InstanceNormalization',
    'normal',
    [rows, constant('ones', filled(1)), constant('zeros', filled(0))],
    { epsilon: float(1e-4) },
  );
  const planes = make('Reshape', 'planes', [normal, make('Shape', 'shape', [x])]);
  const scaled = make('Mul', 'scaled', [constant('weight', column(1)), planes]);
  node.op = 'Add';
  node.truncateInputs(0);
  node.addInput(scaled);
  node.addInput(constant('bias', column(0)));
  node.attributes = new Attributes({});
}

function network(groups: number): Model {
  const model = preResNet({ depth: 14, width: 8, image: 16, seed: 3 });
  for (const node of [...model.graph.nodes])
    if (node.op === 'BatchNormalization') spellOut(model.graph, node, groups);
  model.graph.removeDead();
  model.graph.sort();
  return model;
}

const count = ({ graph }: Model, op: string, domain = ''): number =>
  [...graph.nodes].filter((node) => node.op === op && node.domain === domain).length;

test('every one is found, and spelled out again computes the same', async () => {
  const model = network(4);
  const norms = count(model, 'InstanceNormalization');
  expect(norms).toBeGreaterThan(5);
  const feeds = { input: random.tensor([2, 3, 16, 16]) };
  const [want] = (await runBytes(encodeModel(model).bytes, feeds)).values();
  const state = createState(model);
  runPipeline(importPipeline, state);
  expect(count(model, 'GroupNormalization', 'revnetify')).toBe(norms);
  expect(count(model, 'InstanceNormalization') + count(model, 'Shape')).toBe(0);
  for (const node of model.graph.nodes)
    if (node.op === 'GroupNormalization') {
      expect(node.attributes.int('num_groups')).toBe(4);
      expect(node.attributes.float('epsilon', 0)).toBeCloseTo(1e-4, 9);
    }
  runPipeline([expandGroupNorm], state);
  expect(count(model, 'InstanceNormalization')).toBe(norms);
  const [got] = (await runBytes(encodeModel(model).bytes, feeds)).values();
  expect(want && got && difference(got, want)).toBeLessThan(1e-5);
});

test('what is written is standard, the step of it knows group normalization again', () => {
  const compiled = compile(network(4), { name: 'gn', source: 'gn.onnx', batch: 2 });
  expect(compiled.state.chains.length).toBe(1);
  for (const { graph } of [compiled.rev, compiled.train])
    expect([...graph.nodes].filter((node) => node.domain !== '')).toEqual([]);
  const weights = [...compiled.rev.graph.constants].filter((v) => v.name.endsWith('.weight'));
  for (const { name, shape } of weights) {
    const input = compiled.train.graph.inputs.find((value) => value.name === name);
    if (input) expect(input.shape).toEqual(shape);
  }
});

test('streams are halved as far as groups stay whole', () => {
  const widths = (groups: number): number[] => {
    const options = { name: 'gn', source: 'gn.onnx', batch: 2, partition: 'split' } as const;
    const { rev } = compile(network(groups), options);
    return [...rev.graph.nodes]
      .filter((node) => node.op === 'InstanceNormalization')
      .map((node) => {
        const rows = node.input(0).producer;
        const channels = rows?.input(0).shape?.[1];
        expect(node.input(1).shape).toEqual([groups]);
        expect(Number(channels) % groups).toBe(0);
        return Number(channels);
      });
  };
  expect(Math.min(...widths(4))).toBe(4);
  expect(Math.min(...widths(8))).toBe(8);
});

test('what is shared out another way is left alone', () => {
  const change = (edit: (graph: Graph) => void): number => {
    const model = network(4);
    edit(model.graph);
    const state = createState(model);
    runPipeline(
      importPipeline.filter((pass) => pass !== findGroupNorm),
      state,
    );
    const before = count(model, 'InstanceNormalization');
    runPipeline([findGroupNorm], state);
    return before - count(model, 'InstanceNormalization');
  };
  const first = (graph: Graph): Node => {
    const node = [...graph.nodes].find((n) => n.op === 'InstanceNormalization');
    if (!node) throw new Error('no normalization');
    return node;
  };
  const all = change(() => undefined);
  const scaled = change((graph) => {
    first(graph).input(1).constant = new InlineData(Tensor.of('float32', [4], [1, 1, 2, 1]));
  });
  const read = change((graph) => {
    graph.outputs.push(first(graph).output());
  });
  expect([scaled, read]).toEqual([all - 1, all - 1]);
});
