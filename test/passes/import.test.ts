// From any export to the form the analysis works on: constants, batch size, the forms of batch norm.

import { describe, expect, test } from 'vitest';
import { createState, importPipeline, runPipeline } from '../../passes/index.js';
import type { CompileState } from '../../passes/index.js';
import { batchNormInference } from '../../passes/batchnorm-inference.js';
import { foldConstants } from '../../passes/fold-constants.js';
import { freeBatch } from '../../passes/free-batch.js';
import { simplifyShapes } from '../../passes/simplify-shapes.js';
import { preResNet } from '../../fixtures/models.js';
import { InlineData, Model, Tensor, int, ints, tensor } from '../../src/ir/index.js';
import type { Graph, Value } from '../../src/ir/index.js';
import { Random, interpret } from '../../src/ops/index.js';
import { findParameters } from '../../src/autodiff/index.js';
import { constantsByName } from '../../src/verify/index.js';
import { build, couple, evaluate } from '../autodiff/support.js';
import { inferTypes } from '../../src/analysis/index.js';

const empty = (): { model: Model; graph: Graph } => {
  const model = new Model();
  model.opsets.set('', 17);
  return { model, graph: model.graph };
};

const stateOf = (model: Model): CompileState => createState(model);
const run = (model: Model, pass: typeof foldConstants): void => runPipeline([pass], stateOf(model));
const opsOf = (graph: Graph): string[] => [...graph.nodes].map((n) => n.op);

/** float32 input [N or 2, 4, 2, 2]. */
const imagesOf = (graph: Graph, batch: number | string = 'N'): Value =>
  graph.addInput('x', { dtype: 'float32', shape: [batch, 4, 2, 2] });

const node = (graph: Graph, op: string, inputs: readonly Value[], attributes = {}): Value =>
  graph
    .addNode({ op, inputs, outputs: [`${op.toLowerCase()}${graph.nodes.size}`], attributes })
    .output();

describe('fold-constants', () => {
  test('Constant nodes become constants under their own names', () => {
    const { model, graph } = empty();
    const x = imagesOf(graph);
    const made = graph
      .addNode({
        op: 'Constant',
        inputs: [],
        outputs: ['bias'],
        attributes: { value: tensor(new InlineData(Tensor.of('float32', [1], [3]))) },
      })
      .output();
    graph.outputs.push(node(graph, 'Add', [x, made]));
    run(model, foldConstants);
    expect(opsOf(graph)).toEqual(['Add']);
    expect([...graph.constants].map((v) => [v.name, v.constant?.load().toArray()])).toEqual([
      ['bias', [3]],
    ]);
  });

  test('shape arithmetic becomes the shape, as far as it is known', () => {
    const { model, graph } = empty();
    const x = imagesOf(graph, 2);
    const shape = node(graph, 'Shape', [x]);
    const first = node(graph, 'Slice', [
      shape,
      graph.addConstant('from', new InlineData(Tensor.ints([0]))),
      graph.addConstant('to', new InlineData(Tensor.ints([1]))),
    ]);
    const rest = graph.addConstant('rest', new InlineData(Tensor.ints([-1])));
    const target = node(graph, 'Concat', [first, rest], { axis: int(0) });
    graph.outputs.push(node(graph, 'Reshape', [x, target]));
    run(model, foldConstants);
    expect(opsOf(graph)).toEqual(['Reshape']);
    const reshape = [...graph.nodes][0];
    expect(reshape?.input(1).constant?.load().toArray()).toEqual([2, -1]);
  });

  test('weights that an exporter merged through Identity come apart', () => {
    const { model, graph } = empty();
    const x = imagesOf(graph);
    const w = graph.addConstant('w', new InlineData(new Random(1).tensor([4, 4, 1, 1])));
    const twin = graph.addNode({ op: 'Identity', inputs: [w], outputs: ['w2'] }).output();
    const y = node(graph, 'Conv', [x, w]);
    graph.outputs.push(node(graph, 'Conv', [y, twin]));
    run(model, foldConstants);
    expect(opsOf(graph)).toEqual(['Conv', 'Conv']);
    expect(findParameters(graph).map((v) => v.name)).toEqual(['w', 'w2']);
  });

  test('a weight that is read twice by name stays one weight', () => {
    const { model, graph } = empty();
    const w = graph.addConstant('w', new InlineData(new Random(1).tensor([4, 4, 1, 1])));
    graph.outputs.push(node(graph, 'Conv', [node(graph, 'Conv', [imagesOf(graph), w]), w]));
    run(model, foldConstants);
    expect(findParameters(graph).map((v) => v.name)).toEqual(['w']);
  });

  test('an Identity vanishes', () => {
    const { model, graph } = empty();
    const x = imagesOf(graph);
    graph.outputs.push(node(graph, 'Relu', [node(graph, 'Identity', [x])]));
    run(model, foldConstants);
    expect(opsOf(graph)).toEqual(['Relu']);
  });

  test('what draws at random stays, also where it reads constants alone', () => {
    const { model, graph } = empty();
    const ones = graph.addConstant('ones', new InlineData(Tensor.of('float32', [2, 1], [1, 1])));
    const drawn = node(graph, 'RandomUniformLike', [node(graph, 'Dropout', [ones])]);
    graph.outputs.push(node(graph, 'Relu', [drawn]));
    run(model, foldConstants);
    expect(opsOf(graph)).toEqual(['Dropout', 'RandomUniformLike', 'Relu']);
  });
});

describe('what is computed from weights', () => {
  const weight = (graph: Graph, name: string, dims: readonly number[]): Value =>
    graph.addConstant(name, new InlineData(new Random(3).tensor(dims)));

  test('a standardised filter stays a computation, and the filter itself is trained', () => {
    const { model, graph } = empty();
    const filter = weight(graph, 'filter', [4, 4, 1, 1]);
    const mean = node(graph, 'ReduceMean', [filter], { axes: ints([1, 2, 3]) });
    const centred = node(graph, 'Sub', [filter, mean]);
    graph.outputs.push(node(graph, 'Conv', [imagesOf(graph), centred]));
    run(model, foldConstants);
    expect(opsOf(graph)).toEqual(['ReduceMean', 'Sub', 'Conv']);
    expect(findParameters(graph).map((v) => v.name)).toEqual(['filter']);
  });

  test('a transposed weight is a weight', () => {
    const { model, graph } = empty();
    const matrix = node(graph, 'Transpose', [weight(graph, 'matrix', [3, 2])], {
      perm: ints([1, 0]),
    });
    graph.outputs.push(node(graph, 'MatMul', [imagesOf(graph), matrix]));
    run(model, foldConstants);
    expect(opsOf(graph)).toEqual(['MatMul']);
    expect(findParameters(graph)).toHaveLength(1);
  });

  test.each([
    ['-100 above the diagonal', [0, -100, 0, 0], 0],
    ['minus infinity', [0, -Infinity, 0, 0], 0],
    ['a table of biases', [0, -100, 0.5, 0], 1],
  ])('an additive mask is no weight: %s', (_, values, count) => {
    const { graph } = empty();
    const mask = graph.addConstant('mask', new InlineData(Tensor.of('float32', [2, 2], values)));
    graph.outputs.push(node(graph, 'Add', [imagesOf(graph), mask]));
    expect(findParameters(graph)).toHaveLength(count);
  });
});

describe('simplify-shapes', () => {
  test('computed targets become constants for any batch size', () => {
    const { model, graph } = empty();
    const x = imagesOf(graph);
    const part = (from: number, to: number): Value =>
      node(graph, 'Slice', [
        node(graph, 'Shape', [x]),
        ...[[from], [to]].map((v) =>
          graph.addConstant(`c${graph.constants.size}`, new InlineData(Tensor.ints(v))),
        ),
      ]);
    const four = graph.addConstant('four', new InlineData(Tensor.ints([4])));
    const target = node(graph, 'Concat', [part(0, 1), part(2, 4), four], { axis: int(0) });
    const y = node(graph, 'Reshape', [x, target]);
    const token = weightless(graph, [1, 2, 4]);
    const shape = node(graph, 'Concat', [part(0, 1), part(2, 3), four], { axis: int(0) });
    const z = node(graph, 'Expand', [token, shape]);
    graph.outputs.push(y, z);
    runPipeline([foldConstants, simplifyShapes], stateOf(model));
    expect(y.producer?.input(1).constant?.load().toArray()).toEqual([0, 2, 2, 4]);
    expect(z.producer?.input(1).producer?.op).toBe('Concat');
    inferTypes(graph);
    expect(z.shape).toEqual(['N', 2, 4]);
  });
});

/** A constant of zeros. */
const weightless = (graph: Graph, dims: readonly number[]): Value =>
  graph.addConstant('token', new InlineData(Tensor.zeros('float32', dims)));

describe('free-batch', () => {
  const freed = (first: number, rest: readonly number[]): readonly number[] | undefined => {
    const { model, graph } = empty();
    const x = imagesOf(graph, 2);
    const target = graph.addConstant('t', new InlineData(Tensor.ints([first, ...rest])));
    graph.outputs.push(node(graph, 'Reshape', [x, target]));
    inferTypes(graph);
    const before = new Random(3).tensor([2, 4, 2, 2]);
    const [out] = graph.outputs;
    if (!out) throw new Error('no output');
    const expected = interpret(graph, new Map([[x, before]])).get(out);
    run(model, freeBatch);
    expect(x.shape?.[0]).toBe('N');
    // The batch size of the export still gives what it gave, and another one works.
    expect(interpret(graph, new Map([[x, before]])).get(out)).toEqual(expected);
    expect(
      interpret(graph, new Map([[x, new Random(3).tensor([6, 4, 2, 2])]])).get(out)?.dims[0],
    ).toBe(6);
    return [...graph.nodes][0]?.input(1).constant?.load().toArray();
  };
  test('a Reshape target that spells the batch size', () => {
    expect(freed(2, [16])).toEqual([0, 16]);
    expect(freed(2, [-1])).toEqual([0, -1]);
    expect(freed(2, [4, 4])).toEqual([0, 4, 4]);
  });

  /** x joined with a constant along the channels, exported for some batch size: the operators, once it is free. */
  const joined = (batch: number, data: (i: number) => number, last: boolean): string[] => {
    const { model, graph } = empty();
    const x = imagesOf(graph, batch);
    const elements = Array.from({ length: batch * 12 }, (_, i) => data(i));
    const c = graph.addConstant(
      'c',
      new InlineData(Tensor.of('float32', [batch, 3, 2, 2], elements)),
    );
    graph.outputs.push(node(graph, 'Concat', last ? [x, c] : [c, x], { axis: int(-3) }));
    inferTypes(graph);
    const [out] = graph.outputs;
    if (!out) throw new Error('no output');
    const [small, large] = [batch, 5].map((n) => new Random(3).tensor([n, 4, 2, 2]));
    if (!small || !large) throw new Error('no operand');
    const expected = interpret(graph, new Map([[x, small]])).get(out);
    run(model, freeBatch);
    expect(out.shape).toEqual(['N', 7, 2, 2]);
    expect(interpret(graph, new Map([[x, small]])).get(out)).toEqual(expected);
    const all = interpret(graph, new Map([[x, large]])).get(out);
    // The fifth sample gets what the first one got.
    const from = last ? 16 : 0;
    expect(all?.data.slice(4 * 28 + from, 4 * 28 + from + 12)).toEqual(
      expected?.data.slice(from, from + 12),
    );
    return opsOf(graph);
  };

  test.each([true, false])('zero channels that are joined to samples (last: %s)', (last) => {
    expect(joined(1, () => 0, last)).toEqual(['Pad']);
    expect(joined(3, () => 0, last)).toEqual(['Pad']);
  });

  test.each([true, false])('a weight that is joined to samples (last: %s)', (last) => {
    expect(joined(1, (i) => i + 1, last)).toEqual(['Shape', 'Slice', 'Concat', 'Expand', 'Concat']);
    expect(joined(3, (i) => (i % 12) + 1, last)).toContain('Expand');
  });

  test('the rest of the network follows', () => {
    const model = preResNet({ depth: 8, width: 2, image: 8, classes: 3 });
    const [input] = model.graph.inputs;
    if (!input) throw new Error('no input');
    input.type = { dtype: 'float32', shape: [1, 3, 8, 8] };
    const state = stateOf(model);
    runPipeline(importPipeline, state);
    expect(model.graph.outputs[0]?.shape).toEqual(['N', 3]);
    expect(state.notes.join()).toContain('batch 1');
  });
});

/** The network with its batch norms in the form an export of that opset has in training mode. */
function trainingForm(opset: 9 | 14): Model {
  const model = preResNet({ depth: 8, width: 2, image: 8, classes: 3, seed: 9, norm: 'random' });
  model.opsets.set('', opset);
  for (const n of model.graph.nodes) {
    if (n.op !== 'BatchNormalization') continue;
    const base = n.output().name;
    const extra = opset === 9 ? ['mean', 'var', 'saved_mean', 'saved_var'] : ['mean', 'var'];
    for (const name of extra) model.graph.addOutput(n, `${base}.${name}`);
    if (opset === 14) n.attributes = n.attributes.with({ training_mode: int(1) });
  }
  return model;
}

describe('the forms of batch norm', () => {
  test.each([9, 14] as const)('opset %i in training mode: one output is left', (opset) => {
    const model = trainingForm(opset);
    runPipeline(importPipeline, stateOf(model));
    for (const n of model.graph.nodes) {
      if (n.op !== 'BatchNormalization') continue;
      expect(n.outputs).toHaveLength(1);
      expect(n.attributes.int('training_mode', 0)).toBe(0);
    }
    expect(model.opset).toBe(17);
  });

  test('statistics that the graph returns are not returned any more', () => {
    const model = trainingForm(14);
    const { graph } = model;
    const bn = [...graph.nodes].find((n) => n.op === 'BatchNormalization');
    if (!bn) throw new Error('no batch norm');
    graph.outputs.push(bn.output(1), bn.output(2));
    run(model, batchNormInference);
    expect(graph.outputs.map((v) => v.name)).toEqual(['logits']);
  });

  test('all lead to the same step', () => {
    const models = [
      preResNet({ depth: 8, width: 2, image: 8, classes: 3, seed: 9, norm: 'random' }),
      trainingForm(9),
      trainingForm(14),
    ];
    const results = models.map((model) => {
      const coupled = couple(model);
      return evaluate(build(coupled), constantsByName(coupled.rev), 4);
    });
    const [inference, ...training] = results;
    if (!inference) throw new Error('no result');
    expect(inference.running.size).toBeGreaterThan(0);
    for (const other of training) {
      expect(other.loss).toBe(inference.loss);
      expect(other.gradients).toEqual(inference.gradients);
      expect(other.running).toEqual(inference.running);
      expect([...other.state.model.graph.nodes].map((n) => `${n.name} ${n.op}`)).toEqual(
        [...inference.state.model.graph.nodes].map((n) => `${n.name} ${n.op}`),
      );
    }
  });
});

test('running statistics that an exporter merged are told apart', () => {
  const model = preResNet({ depth: 8, width: 2, image: 8, classes: 3 });
  const bns = [...model.graph.nodes].filter((n) => n.op === 'BatchNormalization');
  const sharing = bns.filter((n) => n.input(3).constant?.dims[0] === 2);
  expect(sharing.length).toBeGreaterThan(1);
  const first = sharing[0];
  for (const n of sharing.slice(1)) for (const i of [3, 4]) n.setInput(i, first?.input(i));
  model.graph.removeDead();
  const { state } = build(couple(model));
  const old = state.step?.statistics.map((s) => s.old) ?? [];
  expect(old).toHaveLength(2 * bns.length);
  expect(new Set(old).size).toBe(old.length);
});
