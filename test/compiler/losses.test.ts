// Networks with other losses than one label per sample: compiled, verified in ONNX Runtime, stepped, read back.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { preResNet } from '../../fixtures/models.js';
import type { Settings } from '../../passes/index.js';
import { readPlan } from '../../runtime/plan.js';
import { TrainingStep } from '../../runtime/step.js';
import { train } from '../../runtime/train.js';
import { checkStep, compile, loadCoupled, writeFolder } from '../../src/compiler/index.js';
import type { Model } from '../../src/ir/index.js';
import { verifyModel } from '../../src/verify/index.js';

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'losses-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

/** The features before the head: as many classes as channels, one label per pixel. */
function dense(): Model {
  const model = preResNet({ depth: 20, width: 2, image: 8, classes: 3, seed: 1, norm: 'random' });
  const { graph } = model;
  const pool = [...graph.nodes].find((n) => n.op === 'GlobalAveragePool');
  if (!pool) throw new Error('the network has no pooling');
  graph.outputs.splice(0, graph.outputs.length, pool.input(0));
  graph.removeDead();
  return model;
}

test.each<Partial<Settings>>([
  { loss: 'cross-entropy', ignoreIndex: 255, labelSmoothing: 0.1 },
  { loss: 'mse' },
])('%o', async (settings) => {
  const options = { name: 'net', source: 'net.onnx', recipe: 'rewire', batch: 4 } as const;
  const compiled = compile(dense(), { ...options, ...settings });
  const { rev, state } = compiled;
  expect(state.chains.length).toBeGreaterThan(0);
  expect((await verifyModel(rev, state.chains, state.settings)).failures).toEqual([]);

  writeFolder(compiled, dir);
  const { plan } = readPlan(dir);
  checkStep(dir, plan, loadCoupled(dir, plan));
  const input = plan.inputs.find(({ role }) => role === 'labels');
  const count = (input?.shape ?? []).reduce((n, d) => n * d, 1);
  const labels =
    settings.loss === 'mse' ? new Float32Array(count).fill(0.5) : new BigInt64Array(count).fill(3n);
  const images = Float32Array.from({ length: 4 * 3 * 8 * 8 }, (_, i) => Math.sin(i));
  const step = await TrainingStep.open(dir, plan, { threads: 1 });
  const losses: number[] = [];
  for (let i = 0; i < 8; i++) {
    const { loss, correct } = await step.run({ images, labels, learningRate: 0.02 });
    losses.push(loss);
    expect(correct).toBeGreaterThanOrEqual(0);
    expect(correct).toBeLessThanOrEqual(4);
  }
  await step.dispose();
  expect(losses.at(-1)).toBeLessThan(losses[0] ?? NaN);
  await expect(train(dir, { data: 'random', steps: 1 })).rejects.toThrow(/one label per sample/);
});
