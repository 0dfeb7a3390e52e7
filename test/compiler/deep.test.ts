// A deep step tells ONNX Runtime's planner nothing that would make it compare every tensor with every free one.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { preResNet } from '../../fixtures/models.js';
import { train as runTraining } from '../../runtime/train.js';
import { compile, writeFolder } from '../../src/compiler/index.js';
import { verifyModel } from '../../src/verify/index.js';
import type { Node } from '../../src/ir/index.js';

const step = (depth: number): { nodes: Node[]; optimization: string } => {
  const model = preResNet({ depth, width: 8, image: 32 });
  const { train, plan } = compile(model, { name: 'net', source: 'net.onnx', batch: 4 });
  return { nodes: [...train.graph.nodes], optimization: plan.memory.plan.graphOptimization };
};

/** Reshapes of a unit whose result has a rank in the file: the target's length, or a stated shape, says it. */
const withRank = (nodes: readonly Node[]): Node[] =>
  nodes.filter(({ op, domain, phase, inputs, outputs }) => {
    const [target, result] = [inputs[1], outputs[0]];
    if (op !== 'Reshape' || domain !== '' || phase === 'update' || !target) return false;
    const isHidden = target.stated !== undefined && target.stated.shape === undefined;
    return !isHidden || result?.stated?.shape !== undefined;
  });

test('views and targets hide the rank in a deep step, and only there', () => {
  const [shallow, deep] = [step(20), step(182)];
  expect([shallow.optimization, deep.optimization]).toEqual(['all', 'none']);
  const units = (nodes: readonly Node[]): Set<string> =>
    new Set(withRank(nodes).map(({ unit }) => unit ?? ''));
  // The unit behind which there is no token, and the loss, have no views to hide anything from.
  expect([...units(deep.nodes)].filter((unit) => unit.startsWith('stage'))).toEqual([]);
  expect([...units(shallow.nodes)].filter((unit) => unit.startsWith('stage'))).not.toEqual([]);
});

test('new weights are read by what runs next, so that few nodes stand at the end of the file', () => {
  const leaves = (nodes: readonly Node[]): number =>
    nodes.filter(({ outputs }) => outputs.every((value) => !value?.isUsed)).length;
  const [shallow, deep] = [step(20), step(182)];
  // Loss and correct answers, and the updates of the unit that runs last.
  expect(leaves(deep.nodes)).toBeLessThan(12);
  expect(leaves(shallow.nodes)).toBeGreaterThan(60);
});

test('its gradients are right, and weights written in place do not change the losses', async () => {
  const model = preResNet({ depth: 182, width: 2, image: 8, seed: 1 });
  const settings = { name: 'net', source: 'net.onnx', batch: 4 };
  const { rev, train, plan, state } = compile(model, settings);
  const verified = await verifyModel(rev, state.chains, state.settings, { float64Flops: 0 });
  expect(verified.failures).toEqual([]);
  const dir = mkdtempSync(join(tmpdir(), 'deep-'));
  try {
    writeFolder({ rev, train, plan, state }, dir);
    const losses = async (inPlace: boolean): Promise<readonly number[]> =>
      (await runTraining(dir, { data: 'random', steps: 3, evaluate: false, threads: 1, inPlace }))
        .losses;
    expect(await losses(true)).toEqual(await losses(false));
  } finally {
    rmSync(dir, { recursive: true });
  }
}, 180_000);

test('a deep step for a GPU joins its probes by what GPUs have, and waits for new weights as well', () => {
  const model = preResNet({ depth: 182, width: 8, image: 32 });
  const settings = { name: 'net', source: 'net.onnx', batch: 4, target: 'portable' } as const;
  const nodes = [...compile(model, settings).train.graph.nodes];
  expect(nodes.some(({ op }) => op === 'Max')).toBe(false);
  const leaves = nodes.filter(({ outputs }) => outputs.every((value) => !value?.isUsed));
  expect(leaves.length).toBeLessThan(20);
});
