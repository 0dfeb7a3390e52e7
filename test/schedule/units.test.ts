// Units of the three fixtures, what is done with each, and the order they run in.

import { describe, expect, test } from 'vitest';
import { fixtures } from '../../fixtures/build.js';
import type { CompileState } from '../../passes/index.js';
import { executionOrder } from '../../src/ir/index.js';
import type { Node } from '../../src/ir/index.js';
import { build, couple } from '../autodiff/support.js';

const fixture = (name: string): ReturnType<typeof couple> => {
  const make = fixtures[name];
  if (!make) throw new Error(`no fixture ${name}`);
  return couple(make(), { batch: 2 });
};

const unitsOf = ({ step }: CompileState): string[] =>
  (step?.units ?? []).map((u) => `${u.id} ${u.kind} ${u.policy}`);

describe('units under policy reverse', () => {
  test('resnet20: pre-activation', () => {
    expect(unitsOf(build(fixture('resnet20.onnx')).state)).toEqual([
      'stem stem recompute',
      'stage1.0 coupling reverse',
      'stage1.1 coupling reverse',
      'stage1.2 coupling reverse',
      'stage2.0 transition recompute',
      'stage2.1 coupling reverse',
      'stage2.2 coupling reverse',
      'stage3.0 transition recompute',
      'stage3.1 coupling reverse',
      'stage3.2 coupling store',
      'head head store',
    ]);
  });
  test('resnet20-v1: activation after the Add, shortcut A', () => {
    expect(unitsOf(build(fixture('resnet20-v1.onnx')).state)).toEqual([
      'stem stem recompute',
      'stage1.0 coupling reverse',
      'stage1.1 coupling reverse',
      'stage1.2 coupling reverse',
      'stage2.0 transition recompute',
      'stage2.1 coupling reverse',
      'stage2.2 coupling reverse',
      'stage3.0 transition recompute',
      'stage3.1 coupling reverse',
      'stage3.2 coupling store',
      'head head store',
    ]);
  });
  test('resnet18: only its first stage has two identity blocks', () => {
    expect(unitsOf(build(fixture('resnet18-narrow.onnx')).state)).toEqual([
      'stem stem recompute',
      'layer1.0 coupling reverse',
      'layer1.1 coupling reverse',
      'layer2.0 transition recompute',
      'layer2.1 block recompute',
      'layer3.0 transition recompute',
      'layer3.1 block recompute',
      'layer4.0 transition recompute',
      'layer4.1 block store',
      'head head store',
    ]);
  });
});

describe('other policies', () => {
  const coupled = fixture('resnet20.onnx');
  test('recompute checkpoints couplings too', () => {
    const { step } = build(coupled, { policy: 'recompute' }).state;
    expect(step?.units.filter((u) => u.kind === 'coupling').map((u) => u.policy)).toEqual([
      ...Array.from({ length: 6 }, () => 'recompute'),
      'store',
    ]);
    expect(step?.backward.reconstructed.size).toBe(0);
  });
  test('store recomputes nothing', () => {
    const { step, model } = build(coupled, { policy: 'store' }).state;
    expect(new Set(step?.units.map((u) => u.policy))).toEqual(new Set(['store']));
    expect([...model.graph.nodes].some((n) => n.phase === 'recompute')).toBe(false);
  });
});

test.each(Object.keys(fixtures))('%s: every node is in exactly one unit', (name) => {
  const { step } = build(fixture(name)).state;
  const nodes = (step?.units ?? []).flatMap((u) => u.nodes);
  expect(new Set(nodes).size).toBe(nodes.length);
});

describe.each(Object.keys(fixtures))('%s: order of execution', (name) => {
  const coupled = fixture(name);
  test.each(
    (['reverse', 'recompute'] as const).flatMap((policy) =>
      (['cpu', 'portable'] as const).map((target) => ({ policy, target })),
    ),
  )('$policy on $target: a unit is recomputed after the results of the unit behind it', (more) => {
    const { step, model } = build(coupled, more).state;
    const { graph } = model;
    const order = executionOrder(graph);
    expect(order).toHaveLength(graph.nodes.size);
    const at = new Map<Node, number>(order.map((node, index) => [node, index]));
    const places = (unit: string, phase: Node['phase']): number[] =>
      order.filter((n) => n.unit === unit && n.phase === phase).map((n) => at.get(n) ?? NaN);
    const ids = (step?.units ?? []).map((u) => u.id);
    ids.forEach((id, index) => {
      const behind = ids[index + 1];
      const token = step?.backward.waits.get(id);
      if (behind === undefined || !token?.producer) return;
      // The token stands for all results of the unit behind: weight gradients and the stream's.
      expect(token.producer.unit).toBe(behind);
      const ready = at.get(token.producer) ?? NaN;
      const recomputed = order.filter(
        (n) =>
          n.unit === id &&
          n.phase === 'recompute' &&
          n.outputs.some((v) => (v?.shape?.length ?? 0) > 1 && v?.shape?.[0] === 2),
      );
      for (const node of recomputed) expect(at.get(node)).toBeGreaterThan(ready);
      const gradients = places(behind, 'backward');
      const mine = places(id, 'backward');
      expect(Math.min(...mine)).toBeGreaterThan(Math.min(...gradients));
    });
  });
});
