// Each rule of the verifier, broken on purpose.

import { expect, test } from 'vitest';
import { DiagnosticError } from '../../src/diagnostics/index.js';
import { InlineData, Model, Tensor, Value } from '../../src/ir/index.js';
import type { Node } from '../../src/ir/index.js';
import { RULES, assertValid, verifyGraph } from '../../src/ir/verify.js';

interface Sample {
  model: Model;
  x: Value;
  w: Value;
  add: Node;
  relu: Node;
}

function sample(): Sample {
  const model = new Model();
  const { graph } = model;
  const x = graph.addInput('x', { dtype: 'float32', shape: [2] });
  const w = graph.addConstant('w', new InlineData(Tensor.of('float32', [2], [1, 2])));
  const add = graph.addNode({ op: 'Add', name: 'add', inputs: [x, w], outputs: ['h'] });
  const relu = graph.addNode({ op: 'Relu', name: 'relu', inputs: [add.output()], outputs: ['y'] });
  graph.outputs.push(relu.output());
  return { model, x, w, add, relu };
}

test('a well-formed model has no problems', () => {
  const { model } = sample();
  expect(verifyGraph(model)).toEqual([]);
  expect(() => assertValid(model)).not.toThrow();
});

const BROKEN: [number, string, (s: Sample) => void][] = [
  [1, 'two values with one name', ({ x, w }) => (w.name = x.name)],
  [1, 'a value without a name', ({ w }) => (w.name = '')],
  [1, 'an input listed twice', ({ model, x }) => model.graph.inputs.push(x)],
  [2, 'an output that names another producer', ({ add, relu }) => (add.output().producer = relu)],
  [2, 'an output at the wrong place', ({ add }) => (add.output().outputIndex = 1)],
  [3, 'a use that nothing stands for', ({ x, relu }) => x.addUse(relu, 0)],
  [3, 'an operand whose use is missing', ({ x }) => x.uses.forEach((use) => x.removeUse(use))],
  [
    3,
    'a use by a node outside',
    ({ model, x }) => {
      new Model().graph.addNode({ op: 'Relu', inputs: [x], outputs: ['z'] });
      model.metadata.clear();
    },
  ],
  [4, 'an operand that nothing defines', ({ relu }) => relu.setInput(0, new Value('ghost'))],
  [4, 'a capture that nothing defines', ({ relu }) => relu.addCapture(new Value('ghost'))],
  [5, 'a user before its producer', ({ model, add, relu }) => model.graph.reorder([relu, add])],
  [
    6,
    'an output that nothing defines',
    ({ model }) => model.graph.outputs.push(new Value('ghost')),
  ],
  [7, 'a node without operator', ({ add }) => (add.op = '')],
  [7, 'a node without name', ({ add }) => (add.name = '')],
  [8, 'data of another element type', ({ w }) => (w.type = { dtype: 'int64', shape: [2] })],
  [8, 'data of another shape', ({ w }) => (w.type = { dtype: 'float32', shape: [3] })],
  [8, 'a constant without data', ({ w }) => (w.constant = undefined)],
  [
    9,
    'a constant that a node computes',
    ({ model, add }) => {
      model.graph.attachConstant(add.output(), new InlineData(Tensor.scalar(1)));
    },
  ],
];

test.each(BROKEN)('rule %i finds %s', (id, _title, damage) => {
  const s = sample();
  damage(s);
  expect(verifyGraph(s.model).map((p) => p.rule.split(' ')[0])).toContain(`R${id}`);
});

test('every rule is broken above, and numbers are unique', () => {
  const ids = RULES.map((r) => r.id);
  expect(new Set(ids).size).toBe(ids.length);
  expect([...new Set(BROKEN.map(([id]) => id))].sort()).toEqual([...ids].sort());
});

test('the error names pass, rule and node', () => {
  const { model, relu } = sample();
  relu.setInput(0, new Value('ghost'));
  try {
    assertValid(model, 'my-pass');
    expect.unreachable();
  } catch (error) {
    expect(error).toBeInstanceOf(DiagnosticError);
    expect(String(error)).toMatch(
      /pass\/failed[^]*my-pass[^]*relu[^]*R4 operands-defined[^]*ghost/,
    );
  }
});

test('a graph of 100,000 nodes is verified in about linear time', () => {
  const { model, x } = sample();
  const time = (): number => {
    const start = performance.now();
    expect(verifyGraph(model)).toEqual([]);
    return performance.now() - start;
  };
  // Every node reads x, so that anything quadratic in the uses of one value would show.
  let last = x;
  for (let i = 0; i < 100_000; i++)
    last = model.graph.addNode({ op: 'Add', inputs: [last, x], outputs: [`n${i}`] }).output();
  expect(time()).toBeLessThan(5000);
});
