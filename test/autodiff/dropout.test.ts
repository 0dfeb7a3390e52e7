// Dropout and stochastic depth: the recompute draws what the forward pass drew, each step draws anew, and gradients are
// exact. Every check is seen to fail.

import { describe, expect, test } from 'vitest';
import { ints } from '../../src/ir/index.js';
import type { Graph, Node, Phase, Tensor, Value } from '../../src/ir/index.js';
import { interpret } from '../../src/ops/index.js';
import { constantsByName, stepFeeds, verifyModel } from '../../src/verify/index.js';
import { dropping } from './random-networks.js';
import { LIMITS, build, check, couple } from './support.js';
import type { Coupled, Fault } from './support.js';

const FORMS = [['in the block', 'head'], ['at its end'], ['stochastic depth', 'head']] as const;
const networks = FORMS.map((kinds) => ({
  name: kinds.join(', '),
  coupled: couple(dropping(kinds)),
}));

const masksOf = (graph: Graph): Node[] => [...graph.nodes].filter((n) => n.op === 'RandomMask');

/** Every mask that a step draws, by where: forward, and in the recompute under the same place. */
function masks(coupled: Coupled, seed: number): Map<string, { forward?: Tensor; again: Tensor[] }> {
  const places: { site: string; phase: Phase; value: Value }[] = [];
  // Looked at before the masks are lowered; their values stay.
  const step = build(coupled, {}, (graph) => {
    for (const node of masksOf(graph)) {
      const site = String(node.attributes.ints('site'));
      places.push({ site, phase: node.phase, value: node.output() });
    }
  });
  const { graph } = step.state.model;
  const values = places.map(({ value }) => value);
  const feeds = stepFeeds(step.state, constantsByName(coupled.rev), seed);
  const results = interpret(graph, feeds, { keep: new Set(values) });
  const sites = new Map<string, { forward?: Tensor; again: Tensor[] }>();
  for (const { site, phase, value } of places) {
    const mask = results.get(value);
    if (!mask) throw new Error(`${value.name} was not computed`);
    const at = sites.get(site) ?? { again: [] };
    if (phase === 'forward') sites.set(site, { ...at, forward: mask });
    else sites.set(site, { ...at, again: [...at.again, mask] });
  }
  return sites;
}

describe.each(networks)('$name', ({ coupled }) => {
  test('blocks are coupled, and the network in inference form drops nothing', () => {
    expect(coupled.chains.length).toBeGreaterThan(0);
    const random = [...coupled.rev.graph.nodes].filter((n) => /Dropout|Random/.test(n.op));
    expect(random.length).toBeGreaterThan(0);
    expect(random.map((n) => [n.op, n.inputs.length])).toEqual(random.map(() => ['Dropout', 2]));
  });

  test('the recompute draws the mask of the forward pass, bit for bit', () => {
    const sites = [...masks(coupled, 5).values()];
    const again = sites.filter((site) => site.again.length > 0);
    expect(again.length).toBeGreaterThan(2);
    for (const { forward, again: copies } of sites)
      for (const copy of copies) expect(copy.data).toEqual(forward?.data);
    for (const { forward } of sites) {
      const kept = forward?.data.reduce((sum, x) => sum + x, 0) ?? NaN;
      const count = forward?.size ?? NaN;
      if (count > 100) expect(kept / count).toBeGreaterThan(0.3);
      if (count > 100) expect(kept / count).toBeLessThan(0.9);
    }
  });

  test('another seed draws other masks, at every place its own', () => {
    const text = (seed: number): string[] =>
      [...masks(coupled, seed).values()].map((s) => s.forward?.data.join('') ?? '');
    const [one, same, other] = [text(5), text(5), text(6)];
    expect(same).toEqual(one);
    // Few samples: two masks of one bit each may agree by chance.
    expect(other.join()).not.toEqual(one.join());
    const large = one.filter((mask) => mask.length > 64);
    expect(new Set(large).size).toBe(large.length);
  });

  test.each(
    (['reverse', 'recompute', 'store'] as const).flatMap((policy) =>
      (['cpu', 'portable'] as const).map((target) => ({ policy, target })),
    ),
  )('$policy on $target gives exact gradients', ({ policy, target }) => {
    const { figures, gradient } = check(coupled, { policy, target });
    expect(figures.recompute, gradient.worstTensor).toBeLessThanOrEqual(LIMITS.recompute);
    expect(figures['finite differences']).toBeLessThanOrEqual(LIMITS['finite differences']);
  });

  test('a recompute that draws anew is found', () => {
    const anew: Fault = (graph) => {
      for (const node of masksOf(graph))
        if (node.phase === 'recompute')
          node.attributes = node.attributes.with({ site: ints([1, 2]) });
    };
    const { failed } = check(coupled, { policy: 'reverse', target: 'cpu' }, { fault: anew });
    expect(failed).toContain('recompute');
  });

  test('a mask that does not wait for the token is found', () => {
    const early: Fault = (graph) => {
      const seed = graph.inputs.find((v) => v.name === 'seed');
      for (const node of masksOf(graph)) if (node.phase === 'recompute') node.setInput(0, seed);
    };
    expect(() => build(coupled, {}, early)).toThrow(/S1 recomputed-nodes-wait/);
  });
});

test('in ONNX Runtime, optimized, against rev.onnx with masks that the definition gives', async () => {
  const coupled = couple(dropping(['in the block', 'stochastic depth', 'head'], 32));
  for (const target of ['cpu', 'portable'] as const) {
    const result = await verifyModel(coupled.rev, coupled.chains, { ...coupled.settings, target });
    expect(result.failures).toEqual([]);
  }
});

test('removed, nothing is random and the step has no seed', () => {
  const coupled = couple(dropping(['in the block', 'stochastic depth', 'head']), {
    dropout: 'remove',
  });
  expect([...coupled.rev.graph.nodes].some((n) => /Dropout|Random/.test(n.op))).toBe(false);
  const { state } = build(coupled);
  expect(state.seed).toBeUndefined();
  expect(state.model.graph.inputs.some((v) => v.name === 'seed')).toBe(false);
});
