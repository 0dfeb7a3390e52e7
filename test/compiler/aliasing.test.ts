// Where a new value may be written over the old one.

import { describe, expect, test } from 'vitest';
import { Graph } from '../../src/ir/index.js';
import type { Value } from '../../src/ir/index.js';
import { safeInPlace } from '../../src/compiler/aliasing.js';
import { NETWORKS, build, couple } from '../autodiff/support.js';

const small = (): {
  graph: Graph;
  weight: Value;
  op: (type: string, ...inputs: Value[]) => Value;
} => {
  const graph = new Graph();
  const type = { dtype: 'float32', shape: [2] } as const;
  const op = (name: string, ...inputs: Value[]): Value =>
    graph.addNode({ op: name, inputs, outputs: [name.toLowerCase()] }).output();
  return { graph, weight: graph.addInput('w', type), op };
};

describe('safeInPlace', () => {
  test('the only reader makes the new value', () => {
    const { graph, weight, op } = small();
    const next = op('Neg', weight);
    graph.outputs.push(next);
    expect(safeInPlace(graph, [{ old: weight, next }]).has(weight)).toBe(true);
  });

  test('every other reader is an ancestor', () => {
    const { graph, weight, op } = small();
    const read = op('Abs', op('Relu', weight));
    const next = op('Sub', weight, read);
    graph.outputs.push(next);
    expect(safeInPlace(graph, [{ old: weight, next }]).has(weight)).toBe(true);
  });

  test('a reader that is no ancestor forbids it', () => {
    const { graph, weight, op } = small();
    const elsewhere = op('Relu', weight);
    const next = op('Neg', weight);
    graph.outputs.push(next, elsewhere);
    expect(safeInPlace(graph, [{ old: weight, next }]).has(weight)).toBe(false);
  });

  test('wherever it stands in the file', () => {
    const { graph, weight, op } = small();
    const next = op('Neg', weight);
    const late = op('Relu', weight);
    graph.outputs.push(next, late);
    expect(safeInPlace(graph, [{ old: weight, next }]).size).toBe(0);
  });
});

describe.each(Object.entries(NETWORKS))('%s', (_name, make) => {
  const coupled = couple(make());
  test.each(['cpu', 'portable'] as const)(
    'every weight, velocity and statistic on %s',
    (target) => {
      const { state } = build(coupled, { target });
      const { updates, statistics } = state.step ?? { updates: [], statistics: [] };
      const pairs = [
        ...updates.flatMap((u) => [
          { old: u.weight, next: u.newWeight },
          { old: u.velocity, next: u.newVelocity },
        ]),
        ...statistics,
      ];
      const safe = safeInPlace(state.model.graph, pairs);
      expect(pairs.filter((p) => !safe.has(p.old)).map((p) => p.old.name)).toEqual([]);
    },
  );

  test('not without the token: a weight is read again after its gradient is there', () => {
    const { state } = build(coupled, { token: false });
    const pairs = (state.step?.updates ?? []).map((u) => ({ old: u.weight, next: u.newWeight }));
    expect(safeInPlace(state.model.graph, pairs).size).toBeLessThan(pairs.length);
  });
});
