// A training with dropout: masks follow from the seed and the number of the batch, so that a training that was cut off
// and continued takes the same steps, and no two batches draw alike.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readPlan } from '../../runtime/plan.js';
import { TrainingStep } from '../../runtime/step.js';
import { train } from '../../runtime/train.js';
import { compile, writeFolder } from '../../src/compiler/index.js';
import { dropping } from '../autodiff/random-networks.js';

let root: string;
let dir: string;
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'dropout-'));
  dir = join(root, 'out');
  const settings = { recipe: 'rewire', batch: 4, accumulate: 2 } as const;
  const model = dropping(['in the block', 'stochastic depth', 'head'], 8);
  writeFolder(compile(model, { name: 'net', source: 'net.onnx', ...settings }), dir);
});
afterAll(() => rmSync(root, { recursive: true }));

describe('a training with dropout', () => {
  test('continued from a checkpoint equals one that ran through; another seed differs', async () => {
    const options = { data: 'random', lr: 0.05, threads: 1, evaluate: false, augment: false };
    const losses = async (seed: number): Promise<readonly number[]> =>
      (await train(dir, { ...options, seed, steps: 6 })).losses;
    const whole = await losses(3);
    const kept = { checkpointEvery: 1, checkpointDir: join(root, 'checkpoints'), seed: 3 };
    const abort = new AbortController();
    const hooks = {
      every: 1,
      signal: abort.signal,
      progress: ({ step }: { step: number }) => {
        if (step === 3) abort.abort();
      },
    };
    const first = await train(dir, { ...options, ...kept, steps: 6 }, hooks);
    expect(first.losses).toEqual(whole.slice(0, 3));
    const rest = await train(dir, { ...options, ...kept, steps: 6, resume: true });
    expect(rest.resumedFrom).toBe(3);
    expect(rest.losses).toEqual(whole);
  });

  test('at the same weights and on the same batch the loss changes with batch, step and seed', async () => {
    const { plan } = readPlan(dir);
    expect(plan.inputs.filter(({ role }) => role === 'seed')).toEqual([
      { name: 'seed', role: 'seed', dtype: 'int32', shape: [2] },
    ]);
    const images = Float32Array.from({ length: 4 * 3 * 8 * 8 }, (_, i) => Math.sin(i));
    const labels = new BigInt64Array(4);
    const losses = async (seed: number): Promise<number[]> => {
      const step = await TrainingStep.open(dir, plan, { threads: 1, seed });
      const found: number[] = [];
      // Learning rate 0: the weights stay, only what is drawn changes.
      for (let i = 0; i < 4; i++)
        found.push((await step.run({ images, labels, learningRate: 0, weightDecay: 0 })).loss);
      await step.dispose();
      return found;
    };
    const [one, again, other] = [await losses(1), await losses(1), await losses(2)];
    expect(again).toEqual(one);
    expect(new Set([...one, ...other]).size).toBe(8);
  });
});
