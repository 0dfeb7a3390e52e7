// Where a new value may be written over the old one.

import { describe, expect, test } from 'vitest';
import type { Settings } from '../../passes/index.js';
import { Graph } from '../../src/ir/index.js';
import type { Phase, Value } from '../../src/ir/index.js';
import { safeInPlace } from '../../src/compiler/aliasing.js';
import { NETWORKS, build, couple } from '../autodiff/support.js';

const small = (): {
  graph: Graph;
  weight: Value;
  op: (type: string, phase: Phase, ...inputs: Value[]) => Value;
} => {
  const graph = new Graph();
  const type = { dtype: 'float32', shape: [2] } as const;
  const op = (name: string, phase: Phase, ...inputs: Value[]): Value =>
    graph.addNode({ op: name, inputs, outputs: [name.toLowerCase()], phase }).output();
  return { graph, weight: graph.addInput('w', type), op };
};

describe('safeInPlace', () => {
  test('the only reader makes the new value', () => {
    const { graph, weight, op } = small();
    const next = op('Neg', 'update', weight);
    graph.outputs.push(next);
    expect(safeInPlace(graph, [{ old: weight, next }], []).has(weight)).toBe(true);
  });

  test('every other reader is part of the update', () => {
    const { graph, weight, op } = small();
    const next = op('Sub', 'update', weight, op('Mul', 'update', weight));
    graph.outputs.push(next);
    expect(safeInPlace(graph, [{ old: weight, next }], []).has(weight)).toBe(true);
  });

  test('a reader in the backward pass, and a token that stands for it', () => {
    const { graph, weight, op } = small();
    const token = op('Cast', 'backward', op('Conv', 'backward', weight));
    const next = op('Sub', 'update', weight, op('Add', 'update', token));
    graph.outputs.push(next);
    expect(safeInPlace(graph, [{ old: weight, next }], [token]).has(weight)).toBe(true);
  });

  test('a reader that is no ancestor forbids it', () => {
    const { graph, weight, op } = small();
    const elsewhere = op('Relu', 'backward', weight);
    const next = op('Neg', 'update', weight);
    graph.outputs.push(next, elsewhere);
    expect(safeInPlace(graph, [{ old: weight, next }], []).has(weight)).toBe(false);
  });

  test('so does one that the awaited token does not stand for', () => {
    const { graph, weight, op } = small();
    const early = op('Cast', 'backward', op('Conv', 'backward', weight));
    const late = op('Greater', 'backward', op('Relu', 'backward', weight), early);
    const next = op('Sub', 'update', weight, op('Add', 'update', early));
    graph.outputs.push(next, late);
    expect(safeInPlace(graph, [{ old: weight, next }], [early, late]).has(weight)).toBe(false);
  });

  test('so does one that reads it through a view, when the view itself has been waited for', () => {
    const { graph, weight, op } = small();
    const view = op('Reshape', 'backward', weight);
    const token = op('Cast', 'backward', op('Conv', 'backward', view));
    const next = op('Sub', 'update', weight, op('Add', 'update', token));
    graph.outputs.push(next);
    expect(safeInPlace(graph, [{ old: weight, next }], [token]).has(weight)).toBe(true);
    graph.outputs.push(op('Relu', 'backward', view));
    expect(safeInPlace(graph, [{ old: weight, next }], [token]).has(weight)).toBe(false);
  });

  test('wherever it stands in the file', () => {
    const { graph, weight, op } = small();
    const next = op('Neg', 'update', weight);
    const late = op('Relu', 'forward', weight);
    graph.outputs.push(next, late);
    expect(safeInPlace(graph, [{ old: weight, next }], []).size).toBe(0);
  });
});

describe.each(Object.entries(NETWORKS))('%s', (_name, make) => {
  const coupled = couple(make());
  test.each(['cpu', 'portable'] as const)(
    'every weight, velocity and statistic on %s',
    (target) => {
      const { state } = build(coupled, { target });
      const { updates, statistics, backward } = state.step ?? failing();
      const pairs = [
        ...updates.flatMap((u) => [{ old: u.weight, next: u.newWeight }, ...u.states]),
        ...statistics,
      ];
      const safe = safeInPlace(state.model.graph, pairs, backward.tokens);
      expect(pairs.filter((p) => !safe.has(p.old)).map((p) => p.old.name)).toEqual([]);
    },
  );

  test.each<Partial<Settings>>([
    { optimizer: 'adamw' },
    { clipNorm: 1 },
    { accumulate: 2 },
    { optimizer: 'adamw', clipNorm: 1, accumulate: 2 },
  ])('everything that is updated with %j', (settings) => {
    const { state } = build(coupled, settings);
    const { updates, backward } = state.step ?? failing();
    const pairs = updates.flatMap((u) => [{ old: u.weight, next: u.newWeight }, ...u.states]);
    const perWeight =
      (settings.optimizer === 'adamw' ? 3 : 2) + (settings.accumulate === undefined ? 0 : 1);
    expect(pairs).toHaveLength(perWeight * updates.length);
    const safe = safeInPlace(state.model.graph, pairs, backward.tokens);
    expect(pairs.filter((p) => !safe.has(p.old)).map((p) => p.old.name)).toEqual([]);
  });

  test('not without the token: a weight is read again after its gradient is there', () => {
    const { state } = build(coupled, { token: false });
    const pairs = (state.step?.updates ?? []).map((u) => ({ old: u.weight, next: u.newWeight }));
    expect(
      safeInPlace(state.model.graph, pairs, state.step?.backward.tokens ?? []).size,
    ).toBeLessThan(pairs.length);
  });
});

function failing(): never {
  throw new Error('not differentiated');
}
