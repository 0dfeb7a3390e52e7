// The reference interpreter: what it returns, what it keeps, what it says when it cannot go on.

import { describe, expect, test } from 'vitest';
import { Graph, InlineData, Tensor } from '../../src/ir/index.js';
import type { ConstantData, Value } from '../../src/ir/index.js';
import { erf } from '../../src/ops/elementwise-unary.js';
import { Builder, evaluateNode, interpret } from '../../src/ops/index.js';

const vector = (...values: number[]): Tensor =>
  Tensor.of('float32', [values.length], Float64Array.from(values));

interface Example {
  readonly graph: Graph;
  readonly x: Value;
  readonly middle: Value;
  readonly y: Value;
}

/** y = (x + 1)·x */
function example(): Example {
  const graph = new Graph();
  const x = graph.addInput('x', { dtype: 'float32', shape: [2] });
  const b = new Builder(graph, { phase: 'forward', path: 'p' });
  const middle = b.op('Add', [x, b.scalar(1)]);
  const y = b.op('Mul', [middle, x]);
  graph.outputs.push(y);
  return { graph, x, middle, y };
}

describe('interpret', () => {
  test('computes the graph outputs and nothing else', () => {
    const { graph, x, y } = example();
    const results = interpret(graph, new Map([[x, vector(2, 3)]]));
    expect([...results.keys()]).toEqual([y]);
    expect(results.get(y)?.toArray()).toEqual([6, 12]);
  });

  test('keeps what it is asked to keep, inputs and constants included', () => {
    const { graph, x, middle } = example();
    const [constant] = graph.constants;
    if (!constant) throw new Error('no constant');
    const keep = new Set([middle, x, constant]);
    const results = interpret(graph, new Map([[x, vector(2, 3)]]), { keep });
    expect(results.get(middle)?.toArray()).toEqual([3, 4]);
    expect(results.get(x)?.toArray()).toEqual([2, 3]);
    expect(results.get(constant)?.toArray()).toEqual([1]);
  });

  test('does not round to float32', () => {
    const { graph, x, y } = example();
    const results = interpret(graph, new Map([[x, vector(1 / 3, 1e-9)]]));
    expect(results.get(y)?.toArray()).toEqual([(1 / 3 + 1) * (1 / 3), (1e-9 + 1) * 1e-9]);
  });

  test('loads a constant once however often it is read', () => {
    const graph = new Graph();
    let loads = 0;
    const inner = new InlineData(vector(1, 2));
    const data: ConstantData = {
      dtype: inner.dtype,
      dims: inner.dims,
      load: () => {
        loads++;
        return inner.load();
      },
      bytes: () => inner.bytes(),
    };
    const w = graph.addConstant('w', data);
    const b = new Builder(graph, { phase: 'forward', path: 'p' });
    graph.outputs.push(b.op('Add', [b.op('Mul', [w, w]), w]));
    expect([...interpret(graph, new Map()).values()].map((t) => t.toArray())).toEqual([[2, 6]]);
    expect(loads).toBe(1);
  });

  test('a feed takes precedence over a constant', () => {
    const { graph, x, y } = example();
    const [constant] = graph.constants;
    if (!constant) throw new Error('no constant');
    const feeds = new Map([
      [x, vector(2, 3)],
      [constant, Tensor.scalar(0)],
    ]);
    expect(interpret(graph, feeds).get(y)?.toArray()).toEqual([4, 9]);
  });

  test('names the operator it does not know', () => {
    const { graph, x } = example();
    const node = graph.addNode({ op: 'Mystery', name: 'm1', inputs: [x], outputs: ['m'] });
    graph.outputs.push(node.output());
    expect(() => interpret(graph, new Map([[x, vector(1, 2)]]))).toThrow(
      /op\/unsupported[\s\S]*m1 \(Mystery\)/,
    );
    expect(() => evaluateNode(node, [vector(1)])).toThrow('op/unsupported');
  });

  test('names what is not fed', () => {
    expect(() => interpret(example().graph, new Map())).toThrow(/reads x,/);
  });
});

test('erf is exact to float64 but for the last digits', () => {
  // Reference values to 16 digits (Abramowitz and Stegun, table 7.1, and its continuation).
  const known: readonly (readonly [number, number])[] = [
    [0, 0],
    [0.1, 0.1124629160182849],
    [0.5, 0.5204998778130465],
    [1, 0.8427007929497149],
    [2, 0.9953222650189527],
    [2.4, 0.9993114861033549],
    [2.6, 0.9997639655834707],
    [3, 0.9999779095030014],
    [4, 0.9999999845827421],
    [7, 1],
  ];
  for (const [x, y] of known) {
    expect(Math.abs(erf(x) - y)).toBeLessThan(1e-15);
    expect(erf(-x)).toBe(-erf(x));
  }
});
