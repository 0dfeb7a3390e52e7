// Training with the package: one process, two under torchrun, and the weights' way back to ONNX.

import { readFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { expect, test } from 'vitest';
import { preResNet } from '../../fixtures/models.js';
import { visionTransformer } from '../../fixtures/transformers.js';
import { openTensors } from '../../runtime/tensor-file.js';
import { importTorch } from '../../src/emit/torch/index.js';
import { Tensor } from '../../src/ir/index.js';
import type { Model } from '../../src/ir/index.js';
import { readModel } from '../../src/onnx/index.js';
import { Random } from '../../src/ops/index.js';
import { maxDistance } from '../../src/verify/index.js';
import { runOnce } from '../../src/verify/run.js';
import { packageOf, runPackage } from './package.js';
import type { Package } from './package.js';
import { runPython, withFolder } from './python.js';

const STEPS = 5;

const withoutBatchNorm = (): Model =>
  visionTransformer({ depth: 2, width: 8, heads: 2, patch: 4, image: 8, classes: 3, seed: 4 });
const withBatchNorm = (): Model =>
  preResNet({ depth: 20, width: 4, image: 16, classes: 3, seed: 1, norm: 'random' });

type Weights = ReadonlyMap<string, Float32Array>;

interface Trained {
  readonly path: string;
  readonly weights: Weights;
  /** Batch norm → how often its running statistics were updated. */
  readonly updates: ReadonlyMap<string, bigint>;
  readonly log: string;
}

/** Runs train.py, in two processes if asked. */
function train(
  pkg: Package,
  name: string,
  processes: 1 | 2,
  ...options: readonly string[]
): Trained {
  const path = join(pkg.dir, `${name}.safetensors`);
  const log = join(pkg.dir, `${name}.csv`);
  // Python 3.11 and PyTorch 1.13 do not agree on the default of these two.
  const launcher = [
    '-m',
    'torch.distributed.run',
    '--redirects',
    '1',
    '--tee',
    '1',
    '--nproc_per_node',
    '2',
  ];
  // Below the ports that connections going out are given: one of those may be in use.
  const port = String(20_000 + Math.floor(Math.random() * 12_000));
  const args = [
    ...(processes === 2 ? [...launcher, '--master_port', port] : []),
    ...['-m', `${pkg.path.split('/').at(-1) ?? ''}.train`, '--data', 'random', '--no-evaluate'],
    ...['--steps', String(STEPS), '--lr', '0.01', '--out', path, '--log', log, ...options],
  ];
  runPython(args, { cwd: dirname(pkg.path), env: { OMP_NUM_THREADS: '1' }, timeout: 120_000 });
  const file = openTensors(path);
  const bytes = readFileSync(path);
  const weights = new Map<string, Float32Array>();
  const updates = new Map<string, bigint>();
  for (const [key, { dtype, begin }] of file.entries)
    if (dtype === 'F32') weights.set(key, file.floats(key));
    else if (key.endsWith('num_batches_tracked')) updates.set(key, bytes.readBigInt64LE(begin));
  file.close();
  return { path, weights, updates, log: readFileSync(log, 'utf8') };
}

/** Largest difference of any tensor, over the largest number of that tensor. */
function apart(x: Weights, y: Weights): number {
  expect([...x.keys()]).toEqual([...y.keys()]);
  return Math.max(...[...y].map(([key, values]) => maxDistance(x.get(key) ?? [], values).maxRel));
}

const moved = (x: Weights, pkg: Package): number => {
  const file = openTensors(join(pkg.path, 'weights.safetensors'));
  const before = new Map([...x.keys()].map((key) => [key, file.floats(key)]));
  file.close();
  return apart(x, before);
};

test('two processes train a network without batch norm as one with the doubled batch does', async () => {
  await withFolder((folder) => {
    const pkg = packageOf(withoutBatchNorm(), join(folder, 'out'), { batch: 4 });
    const two = train(pkg, 'two', 2, '--batch', '4');
    const one = train(pkg, 'one', 1, '--batch', '8');
    const sums = train(pkg, 'sums', 1, '--batch', '4', '--accumulate', '2');
    expect(moved(one.weights, pkg)).toBeGreaterThan(1e-2);
    expect(apart(two.weights, one.weights)).toBeLessThanOrEqual(1e-5);
    expect(apart(sums.weights, one.weights)).toBeLessThanOrEqual(1e-5);
    // A batch in other hands is another training: the comparison can fail.
    const other = train(pkg, 'other', 1, '--batch', '4');
    expect(apart(other.weights, one.weights)).toBeGreaterThan(1e-4);
  });
});

test('two processes train a network with batch norm as with stored activations, statistics included', async () => {
  await withFolder((folder) => {
    const pkg = packageOf(withBatchNorm(), join(folder, 'out'), { batch: 8 });
    const [reversible, checkpoint, stored] = (['reversible', 'checkpoint', 'stored'] as const).map(
      (mode) => train(pkg, mode, 2, '--batch', '8', '--mode', mode),
    );
    if (!reversible || !checkpoint || !stored) throw new Error('three trainings');
    expect(moved(stored.weights, pkg)).toBeGreaterThan(1e-2);
    expect(apart(reversible.weights, stored.weights)).toBeLessThanOrEqual(1e-5);
    expect(apart(checkpoint.weights, stored.weights)).toBeLessThanOrEqual(1e-5);
    // Once per step, not again by the recompute.
    for (const { updates } of [reversible, checkpoint, stored]) {
      expect(updates.size).toBeGreaterThan(10);
      expect(new Set(updates.values())).toEqual(new Set([BigInt(STEPS)]));
    }
  });
});

test('a training that is resumed takes the steps of one that was not cut off', async () => {
  await withFolder((folder) => {
    const pkg = packageOf(withBatchNorm(), join(folder, 'out'), { batch: 8 });
    const checkpoint = join(folder, 'checkpoint.pt');
    const common = ['--lr-schedule', 'constant', '--checkpoint', checkpoint];
    const whole = train(pkg, 'whole', 1, ...common);
    train(pkg, 'cut', 1, ...common, '--steps', '3', '--checkpoint-every', '2');
    const resumed = train(pkg, 'cut', 1, ...common, '--resume');
    expect(apart(resumed.weights, whole.weights)).toBe(0);
    const losses = (log: string): string[] =>
      log
        .trim()
        .split('\n')
        .map((line) => line.split(',').slice(0, 4).join());
    expect(losses(resumed.log)).toEqual(losses(whole.log));
  });
});

test.each([
  { name: 'with batch norm', make: withBatchNorm },
  { name: 'without batch norm', make: withoutBatchNorm },
])('weights go to PyTorch, are trained and come back: a network $name', async ({ make }) => {
  await withFolder(async (folder) => {
    const pkg = packageOf(make(), join(folder, 'out'), { batch: 4 });
    const { path } = train(pkg, 'trained', 1);
    const imported = importTorch(pkg.dir, path);
    const model = readModel(imported.path);
    expect(model.metadata.get('revnetify.trained')).toBe(`${STEPS} steps`);
    const input = pkg.plan.inputs.find(({ role }) => role === 'images');
    const dims = [4, ...(input?.shape.slice(1) ?? [])];
    const random = new Random(3);
    const count = dims.reduce((n, d) => n * d, 1);
    const x = Tensor.of(
      'float32',
      dims,
      Float32Array.from({ length: count }, () => random.normal()),
    );
    const [fed, output] = [
      model.graph.inputs.find((v) => v.name === input?.name),
      model.graph.outputs[0],
    ];
    if (!fed || !output) throw new Error('a model without an input or output');
    const own = (await runOnce(model, new Map([[fed, x]]), [output])).get(output) ?? [];
    const feeds = new Map([[fed.name, x]]);
    const eager = { mode: 'reversible', dtype: 'float32', train: false } as const;
    const torch = runPackage(pkg, feeds, { ...eager, weights: path });
    expect(maxDistance(torch.output, own).maxRel).toBeLessThanOrEqual(1e-5);
    // With the weights it was exported with, it computes something else.
    const before = runPackage(pkg, feeds, eager);
    expect(maxDistance(before.output, own).maxRel).toBeGreaterThan(1e-3);
  });
});
