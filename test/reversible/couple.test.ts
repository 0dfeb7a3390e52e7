// A run of blocks as half-couplings, on graphs small enough to compute by hand.

import { describe, expect, test } from 'vitest';
import { findResidualBlocks, findRuns } from '../../src/analysis/index.js';
import { Tensor } from '../../src/ir/index.js';
import type { Value } from '../../src/ir/index.js';
import { interpret } from '../../src/ops/index.js';
import { coupleSection, partitionSections } from '../../src/reversible/index.js';
import type { CoupledChain } from '../../src/reversible/index.js';
import type { ResidualBlock } from '../../src/analysis/index.js';
import type { Graph } from '../../src/ir/index.js';
import { Net } from '../analysis/net.js';

/** Recipe rewire: both streams start as copies, their average is read. */
function coupleRun(graph: Graph, run: readonly ResidualBlock[]): CoupledChain {
  const section = coupleSection(
    graph,
    run.map((block) => ({ block, prefix: [] })),
  );
  const choices = { partition: 'widen', stem: 'duplicated', head: 'average', seed: 0 } as const;
  const { chains } = partitionSections(graph, [section], choices, () => new Map());
  const [chain] = chains;
  if (!chain) throw new Error('no chain');
  return chain;
}

/** f_k(b) = weight·b by a 1x1 convolution. */
function chainOf(
  weights: readonly number[],
  { relu = false, swapped = false } = {},
): { net: Net; x: Value; chain: CoupledChain; y: Value } {
  const net = new Net();
  const x = net.input(['N', 1, 1, 1]);
  let state = x;
  weights.forEach((w, k) => {
    const from = relu && k > 0 ? net.relu(state) : state;
    const f = net.op('Conv', [from, net.constant([1, 1, 1, 1], w)]);
    state = swapped ? net.add(f, from) : net.add(from, f);
  });
  const y = net.op('Neg', [relu ? net.relu(state) : state]);
  const blocks = net.blocks(y);
  const { graph } = net.model;
  const [run] = findRuns(graph, blocks);
  if (run?.length !== weights.length) throw new Error('the run was not found');
  return {
    net,
    x,
    chain: coupleRun(graph, run),
    y,
  };
}

const at = ({ net, x, y }: { net: Net; x: Value; y: Value }, value: number): number | undefined =>
  interpret(net.model.graph, new Map([[x, Tensor.of('float32', [1, 1, 1, 1], [value])]])).get(y)
    ?.data[0];

describe('a run of identity blocks, rewired', () => {
  test.each([false, true])(
    's_k+1 = s_k−1 + f_k(s_k), then the average (skip second: %s)',
    (swapped) => {
      const coupled = chainOf([0.5, 2, 3], { swapped });
      // s1 = s0 = 4; s2 = 4 + 2 = 6; s3 = 4 + 12 = 16; s4 = 6 + 48 = 54.
      expect(at(coupled, 4)).toBe(-(16 + 54) / 2);
    },
  );

  test('a ReLU after the Add stays before the function, the shortcut skips it', () => {
    const coupled = chainOf([-2, 3, 1], { relu: true });
    // s1 = s0 = 1; s2 = 1 − 2 = −1; s3 = 1 + 3·relu(−1) = 1; s4 = −1 + 1·relu(1) = 0; relu((1 + 0)/2).
    expect(at(coupled, 1)).toBe(-0.5);
  });

  test('names the streams of every half-coupling', () => {
    const { chain, x } = chainOf([1, 1, 1]);
    const [first, second, third] = chain.couplings;
    expect([first?.a, first?.b]).toEqual([x, x]);
    expect([second?.a, second?.b]).toEqual([x, first?.t]);
    expect([third?.a, third?.b]).toEqual([first?.t, second?.t]);
  });

  test('an even number of blocks is as good as an odd one', () => {
    // s2 = 1 + 1 = 2; s3 = 1 + 2 = 3.
    expect(at(chainOf([1, 1]), 1)).toBe(-2.5);
  });

  test('a returned state is replaced by the average', () => {
    const net = new Net();
    const x = net.input(['N', 1, 1, 1]);
    const one = (): Value => net.constant([1, 1, 1, 1], 1);
    const s = net.add(x, net.op('Conv', [x, one()]));
    const t = net.add(s, net.op('Conv', [s, one()]));
    net.blocks(t);
    const { graph } = net.model;
    const [run] = findRuns(graph, findResidualBlocks(graph));
    if (!run) throw new Error('no run');
    const { output } = coupleRun(graph, run);
    expect(graph.outputs).toEqual([output]);
  });
});
