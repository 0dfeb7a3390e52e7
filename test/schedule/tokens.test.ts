// The graph enforces the schedule, and the checker that says so can fail.

import { describe, expect, test } from 'vitest';
import type { CompileState } from '../../passes/index.js';
import { checkTokens } from '../../src/schedule/index.js';
import type { OrderProblem } from '../../src/schedule/index.js';
import type { Node } from '../../src/ir/index.js';
import { NETWORKS, build, couple } from '../autodiff/support.js';

const problems = ({ model, step }: CompileState): OrderProblem[] =>
  checkTokens(model.graph, step?.backward.waits ?? new Map());

const NETS = Object.entries(NETWORKS).map(([name, make]) => ({ name, coupled: couple(make()) }));
const CASES = NETS.flatMap((net) =>
  (['cpu', 'portable'] as const).map((target) => ({ ...net, target })),
);

describe.each(CASES)('$name on $target', ({ coupled, target }) => {
  test.each(['reverse', 'recompute'] as const)('%s: every recomputed node waits', (policy) => {
    const { state } = build(coupled, { policy, target });
    expect([...state.model.graph.nodes].some((n) => n.phase === 'recompute')).toBe(true);
    expect(problems(state)).toEqual([]);
  });

  test('one guard or view removed is one problem at least', () => {
    const { state } = build(coupled, { target });
    const { graph } = state.model;
    const tokens = new Set(state.step?.backward.waits.values());
    const zeros = new Set<unknown>();
    // What carries the token into a unit's recompute: additions of it, maxima with it, views shaped by it.
    const carriers: Node[] = [];
    for (const node of graph.nodes) {
      const fromToken = node.inputs.findIndex((v) => v && (tokens.has(v) || zeros.has(v)));
      if (fromToken < 0 || node.phase !== 'recompute') continue;
      // A view of what the unit itself computed waits anyway.
      const isInner = node.inputs.some((v, i) => {
        const maker = i === fromToken ? undefined : v?.producer;
        return maker !== undefined && maker.unit === node.unit && maker.phase !== 'forward';
      });
      if (node.op === 'Cast' || node.op === 'Expand') zeros.add(node.output());
      else if (!isInner) carriers.push(node);
    }
    expect(carriers.length).toBeGreaterThan(2);
    // A batch norm is guarded at two operands; which of them matters depends on the target.
    const guards = new Map<string, Node[]>();
    for (const node of carriers) {
      const key = `${node.unit ?? ''} ${node.origin ?? node.name}`;
      guards.set(key, [...(guards.get(key) ?? []), node]);
    }
    for (const [key, nodes] of guards) {
      const undo = nodes.map((node) => {
        const index = node.inputs.findIndex((v) => v && (tokens.has(v) || zeros.has(v)));
        const token = node.input(index);
        node.setInput(
          index,
          node.inputs.find((v, i) => v && i !== index),
        );
        return () => node.setInput(index, token);
      });
      expect(problems(state).length, key).toBeGreaterThan(0);
      for (const restore of undo) restore();
    }
    expect(problems(state)).toEqual([]);
  });
});

test('without the token every unit is a problem', () => {
  const { state } = build(couple(NETWORKS['pre-activation 20']?.() ?? failing()), { token: false });
  const found = problems(state);
  // Of a stem that is one convolution nothing has to be recomputed.
  const units = state.step?.units.filter((u) => u.policy !== 'store' && u.kind !== 'stem') ?? [];
  for (const unit of units)
    expect(
      found.some((p) => p.where.includes(`/${unit.id}/`)),
      unit.id,
    ).toBe(true);
  expect(found[0]?.rule).toBe('S1 recomputed-nodes-wait');
});

function failing(): never {
  throw new Error('no such network');
}
