// A training that goes wrong says where, keeps its last good checkpoint, and writes nothing that is not finite.

import { cpSync, existsSync, mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { preResNet } from '../../fixtures/models.js';
import { unitsOfWeights } from '../../runtime/diagnose.js';
import { readTensors } from '../../runtime/safetensors.js';
import { TrainingStep } from '../../runtime/step.js';
import { train } from '../../runtime/train.js';
import { compile, writeFolder } from '../../src/compiler/index.js';
import { InlineData } from '../../src/ir/index.js';
import { readModel, writeModel } from '../../src/onnx/index.js';
import { Random } from '../../src/ops/index.js';
import type { Plan } from '../../src/plan/index.js';

const BATCH = 2;
let root: string;
const folders = new Map<string, { dir: string; plan: Plan }>();
beforeAll(() => {
  root = mkdtempSync(join(tmpdir(), 'diverge-'));
  for (const target of ['cpu', 'portable'] as const) {
    const dir = join(root, target);
    const options = { name: 'net', source: 'net.onnx', batch: BATCH, target };
    const compiled = compile(preResNet({ depth: 20, width: 2, image: 16, classes: 3 }), {
      ...options,
      recipe: 'rewire',
    });
    writeFolder(compiled, dir);
    folders.set(target, { dir, plan: compiled.plan });
  }
}, 120_000);
afterAll(() => rmSync(root, { recursive: true }));

const folder = (target: string): { dir: string; plan: Plan } => {
  const found = folders.get(target);
  if (!found) throw new Error(target);
  return found;
};

/** One step with one element of a weight set to a value. */
async function stepWith(target: string, weight: string, value: number): Promise<unknown> {
  const { dir, plan } = folder(target);
  const bad = readModel(join(dir, plan.model.rev));
  for (const constant of bad.graph.constants)
    if (constant.name === weight && constant.constant) {
      const tensor = constant.constant.load();
      tensor.data[tensor.size - 1] = value;
      constant.constant = new InlineData(tensor);
    }
  const random = new Random(1);
  const images = Float32Array.from(random.tensor([BATCH, 3, 16, 16]).data);
  const labels = BigInt64Array.from([0n, 2n]);
  const changed = mkdtempSync(join(root, 'changed-'));
  cpSync(dir, changed, { recursive: true, filter: (path) => !path.endsWith('.rev.onnx') });
  writeModel(bad, join(changed, plan.model.rev));
  const step = await TrainingStep.open(changed, plan, { threads: 1 });
  try {
    return await step.run({ images, labels, learningRate: 0.1 });
  } finally {
    await step.dispose();
  }
}

describe('the block is named', () => {
  test.each([
    ['cpu', 'conv1.weight', Infinity],
    ['cpu', 'stage1.1.conv1.weight', Infinity],
    ['cpu', 'stage1.1.conv2.weight', Infinity],
    ['cpu', 'stage2.0.conv2.weight', NaN],
    ['cpu', 'stage2.2.bn1.weight', -Infinity],
    ['cpu', 'stage3.2.conv2.weight', NaN],
    ['cpu', 'fc.weight', Infinity],
    ['portable', 'stage1.1.conv2.weight', Infinity],
    ['portable', 'stage2.2.bn1.weight', NaN],
  ])('%s: %s = %d', async (target, weight, value) => {
    const { dir, plan } = folder(target);
    const unit = unitsOfWeights(dir, plan).get(weight) ?? '';
    // Of a block's weight it is the block.
    if (weight.startsWith('stage')) expect(unit).toBe(weight.split('.').slice(0, 2).join('.'));
    const where = `step 1, block ${unit}`;
    const bad = stepWith(target, weight, value);
    await expect(bad).rejects.toMatchObject({ code: 'train/diverged', exitCode: 5, where });
  });

  test('a finite weight does not stop anything', async () => {
    expect(await stepWith('cpu', 'stage1.1.conv2.weight', 0)).toHaveProperty('loss');
  });
});

describe('a learning rate that is too high', () => {
  const wild = {
    ...{ data: 'random', steps: 60, threads: 1, evaluate: false, checkpointEvery: 1 },
    lrSchedule: { kind: 'step', milestones: [1e-9], gamma: 1 },
  } as const;

  test('leaves the last good checkpoint and no trained model', async () => {
    const { dir } = folder('cpu');
    const checkpointDir = join(root, 'checkpoints');
    const error = await train(dir, { ...wild, lr: 1e12, checkpointDir }).then(
      () => undefined,
      (e: unknown) => e as Error & { where: string; hint: string },
    );
    expect(error?.where).toMatch(/^step \d+, block \S+$/);
    const [kept = '', ...others] = readdirSync(checkpointDir);
    expect(others).toEqual([]);
    expect(error?.hint).toContain(join(checkpointDir, kept));
    for (const { data } of readTensors(join(checkpointDir, kept)).tensors.values())
      expect(data.every((x) => Number.isFinite(x))).toBe(true);
    expect(existsSync(join(dir, 'net.trained.onnx'))).toBe(false);
  });

  test('also where the loss of the last step was still finite', async () => {
    const { dir } = folder('cpu');
    const bad = train(dir, { ...wild, checkpointEvery: 2, steps: 1, lr: 3e38, weightDecay: 3e38 });
    await expect(bad).rejects.toMatchObject({ code: 'train/diverged' });
    expect(existsSync(join(dir, 'net.trained.onnx'))).toBe(false);
    expect(existsSync(join(dir, 'checkpoints'))).toBe(false);
  });
});
