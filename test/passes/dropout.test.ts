// unify-dropout: every form of dropout and stochastic depth becomes a Dropout node in inference form, and computes there
// what the exporter's evaluation mode does.

import { describe, expect, test } from 'vitest';
import { createState, importPipeline, runPipeline } from '../../passes/index.js';
import type { CompileState } from '../../passes/index.js';
import { InlineData, Model, Tensor, float, int, tensor } from '../../src/ir/index.js';
import type { Graph, Value } from '../../src/ir/index.js';
import { Builder, Random, interpret } from '../../src/ops/index.js';

const scalar = (b: Builder, value: number, dtype: 'float32' | 'bool' = 'float32'): Value =>
  b.constant(Tensor.scalar(value, dtype));

interface How {
  readonly batch?: number | string;
  readonly dropout?: 'keep' | 'remove';
  readonly opset?: number;
}

/** A network of one expression of its input, imported. */
function imported(
  make: (b: Builder, x: Value) => Value,
  { batch = 'N', dropout = 'keep', opset = 17 }: How = {},
): CompileState {
  const model = new Model();
  model.opsets.set('', opset);
  const { graph } = model;
  const x = graph.addInput('x', { dtype: 'float32', shape: [batch, 4, 2, 2] });
  const b = new Builder(graph, { phase: 'forward', path: 'n' });
  graph.outputs.push(b.op('Relu', [make(b, x)]));
  const state = createState(model, { dropout });
  runPipeline(importPipeline, state);
  return state;
}

const dropouts = (graph: Graph): (readonly [number, readonly unknown[]])[] =>
  [...graph.nodes]
    .filter((n) => n.op === 'Dropout')
    .map((n) => [
      Number((n.inputs[1]?.constant?.load().data[0] ?? 0.5).toFixed(4)),
      n.input(0).shape ?? [],
    ]);

/** In inference form the network is a Relu and nothing else. */
function checkInference({ model: { graph } }: CompileState, batch = 3): void {
  const x = graph.inputs[0];
  const [y] = graph.outputs;
  if (!x || !y) throw new Error('input or output is gone');
  const data = new Random(1).tensor([batch, 4, 2, 2]);
  const got = interpret(graph, new Map([[x, data]])).get(y);
  expect(got?.dims).toEqual(data.dims);
  got?.data.forEach((value, i) => {
    expect(value).toBeCloseTo(Math.max(0, data.data[i] ?? NaN), 6);
  });
}

describe('Dropout nodes', () => {
  test.each([
    ['ratio left out', (b: Builder, x: Value) => b.op('Dropout', [x]), 0.5],
    ['inference', (b: Builder, x: Value) => b.op('Dropout', [x, scalar(b, 0.3)]), 0.3],
    [
      'training mode off',
      (b: Builder, x: Value) => b.op('Dropout', [x, scalar(b, 0.3), scalar(b, 0, 'bool')]),
      0.3,
    ],
    [
      'training mode on',
      (b: Builder, x: Value) =>
        b.op('Dropout', [x, scalar(b, 0.3), scalar(b, 1, 'bool')], { outputs: 2 }),
      0.3,
    ],
  ] as const)('%s', (_, make, ratio) => {
    const state = imported(make);
    expect(dropouts(state.model.graph)).toEqual([[ratio, ['N', 4, 2, 2]]]);
    expect(state.notes.join()).toContain('1 places drop at random');
    checkInference(state);
  });

  test('the attribute of opset 7', () => {
    const make = (b: Builder, x: Value): Value => {
      const attributes = { ratio: float(0.25) };
      return b.op('Dropout', [x], { attributes });
    };
    expect(dropouts(imported(make, { opset: 7 }).model.graph)).toEqual([[0.25, ['N', 4, 2, 2]]]);
  });

  test('a ratio of 0, and --dropout remove, leave nothing', () => {
    const none = imported((b, x) => b.op('Dropout', [x, scalar(b, 0)]));
    const removed = imported((b, x) => b.op('Dropout', [x]), { dropout: 'remove' });
    for (const { model, notes } of [none, removed]) {
      expect([...model.graph.nodes].map((n) => n.op)).toEqual(['Relu']);
      expect(notes).toEqual([]);
    }
  });

  test('a mask that is read is refused', () => {
    const make = (b: Builder, x: Value): Value => {
      const node = b.node('Dropout', [x], { outputs: 2 });
      return b.op('Where', [node.output(1), x, node.output(0)]);
    };
    expect(() => imported(make)).toThrow(/op\/unsupported[\s\S]*mask is read/);
  });
});

/** Zeros of one per sample, as [N, 1, 1, 1] (or all ones), the way exporters write it. */
function perSample(b: Builder, x: Value, one = false): Value {
  const value = tensor(new InlineData(Tensor.of('float32', [1], [0])));
  const n = b.op('Slice', [b.op('Shape', [x]), b.ints(0), b.ints(1)]);
  const shape = b.op('Concat', [one ? b.ints(1) : n, b.ints(1, 1, 1)], {
    attributes: { axis: int(0) },
  });
  return b.op('ConstantOfShape', [shape], { attributes: { value } });
}

const cast = (b: Builder, x: Value): Value => b.op('Cast', [x], { attributes: { to: int(1) } });

describe('spelled out', () => {
  const forms: Readonly<Record<string, (b: Builder, x: Value, like: Value) => Value>> = {
    'u < keep, divided': (b, x, like) => {
      const kept = cast(b, b.op('Less', [b.op('RandomUniformLike', [like]), scalar(b, 0.8)]));
      return b.op('Mul', [x, b.op('Div', [kept, scalar(b, 0.8)])]);
    },
    'u > ratio, multiplied': (b, x, like) => {
      const kept = cast(b, b.op('Greater', [b.op('RandomUniformLike', [like]), scalar(b, 0.2)]));
      return b.op('Mul', [b.op('Mul', [kept, scalar(b, 1.25)]), x]);
    },
    'keep > u, operand divided before': (b, x, like) => {
      const kept = cast(b, b.op('Greater', [scalar(b, 0.8), b.op('RandomUniformLike', [like])]));
      return b.op('Mul', [b.op('Div', [x, scalar(b, 0.8)]), kept]);
    },
    'floor(keep + u), operand divided before': (b, x, like) => {
      const sum = b.op('Add', [scalar(b, 0.8), b.op('RandomUniformLike', [like])]);
      return b.op('Mul', [b.op('Div', [x, scalar(b, 0.8)]), b.op('Floor', [sum])]);
    },
  };
  test.each(Object.entries(forms))('per sample: %s', (_, make) => {
    const state = imported((b, x) => make(b, x, perSample(b, x)));
    expect(dropouts(state.model.graph)).toEqual([[0.2, ['N', 1, 1, 1]]]);
    expect([...state.model.graph.nodes].some((n) => n.op.startsWith('Random'))).toBe(false);
    checkInference(state);
  });

  const [first = (): never => expect.fail()] = Object.values(forms);

  test('per element it is a Dropout of the operand', () => {
    const state = imported((b, x) => first(b, x, x));
    expect(dropouts(state.model.graph)).toEqual([[0.2, ['N', 4, 2, 2]]]);
    checkInference(state);
  });

  test.each([1, 2])('exported for a fixed batch of %d, every sample draws', (batch) => {
    const zeros = new InlineData(Tensor.zeros('float32', [batch, 1, 1, 1]));
    const state = imported((b, x) => first(b, x, b.graph.addConstant('zeros', zeros)), { batch });
    expect(dropouts(state.model.graph)).toEqual([[0.2, ['N', 1, 1, 1]]]);
    checkInference(state);
  });

  test('one for the whole batch', () => {
    const state = imported((b, x) => first(b, x, perSample(b, x, true)));
    expect(dropouts(state.model.graph)).toEqual([[0.2, [1, 1, 1, 1]]]);
    checkInference(state);
  });

  test('a Bernoulli node with one probability', () => {
    const half = tensor(new InlineData(Tensor.of('float32', [1], [0.75])));
    const state = imported((b, x) => {
      const p = b.op('ConstantOfShape', [b.op('Shape', [x])], { attributes: { value: half } });
      const kept = b.op('Bernoulli', [p]);
      return b.op('Mul', [x, b.op('Div', [kept, scalar(b, 0.75)])]);
    });
    expect(dropouts(state.model.graph)).toEqual([[0.25, ['N', 4, 2, 2]]]);
    checkInference(state);
  });

  test('--dropout remove takes it away', () => {
    const state = imported((b, x) => first(b, x, perSample(b, x)), { dropout: 'remove' });
    expect([...state.model.graph.nodes].map((n) => n.op)).toEqual(['Relu']);
  });

  test('other random numbers stay what they are', () => {
    const state = imported((b, x) => b.op('Add', [x, b.op('RandomUniformLike', [x])]));
    expect([...state.model.graph.nodes].map((n) => n.op)).toEqual([
      'RandomUniformLike',
      'Add',
      'Relu',
    ]);
  });
});
