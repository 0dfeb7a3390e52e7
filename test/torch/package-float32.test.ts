// The PyTorch package in float32 on networks of real size, judged as float32.test.ts judges our step: beside the step in
// ONNX Runtime, by PyTorch in float64, and by what float32 does to PyTorch itself.

import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { visionTransformer } from '../../fixtures/transformers.js';
import { Tensor } from '../../src/ir/index.js';
import type { Model } from '../../src/ir/index.js';
import { readModel } from '../../src/onnx/index.js';
import {
  compareGradients,
  constantsByName,
  exposeStep,
  stepFeeds,
} from '../../src/verify/index.js';
import { runOnce } from '../../src/verify/run.js';
import { byName, packageOf, runPackage, stepOf } from './package.js';
import type { Package } from './package.js';
import { runPython, withFolder } from './python.js';

const SEED = 7;
const root = fileURLToPath(new URL('../..', import.meta.url));

/** A network of torchvision as bench/export writes it, batch norm kept. */
function torchvision(name: string, folder: string, image: number): Model {
  const script = join(root, 'bench/export/torchvision.py');
  const args = ['--networks', name, '--modes', 'evalbn', '--opsets', '17', '--batches', 'dynamic'];
  runPython([script, folder, ...args, '--image', String(image), '--large']);
  return readModel(join(folder, `${name}.evalbn.dyn.op17.onnx`));
}

interface Case {
  readonly name: string;
  readonly make: (folder: string) => Model;
  readonly batch: number;
  readonly partition: 'widen' | 'split';
}

const CASES: readonly Case[] = [
  {
    name: 'ResNet-20',
    make: () => readModel(join(root, 'fixtures/resnet20.onnx')),
    batch: 8,
    partition: 'widen',
  },
  {
    name: 'resnet50',
    make: (folder) => torchvision('resnet50', folder, 64),
    batch: 8,
    partition: 'widen',
  },
  {
    name: 'resnet50, split',
    make: (folder) => torchvision('resnet50', folder, 64),
    batch: 8,
    partition: 'split',
  },
  {
    name: 'ViT-Ti',
    make: () => visionTransformer({ depth: 12, width: 192, heads: 3, patch: 4, image: 32 }),
    batch: 4,
    partition: 'widen',
  },
  {
    name: 'vit_b_16',
    make: (folder) => torchvision('vit_b_16', folder, 224),
    batch: 2,
    partition: 'widen',
  },
];

interface Gradients {
  readonly loss: number;
  readonly gradients: ReadonlyMap<string, ArrayLike<number>>;
}

/** The step in ONNX Runtime, and what it was fed, in float32. */
async function ownRun(pkg: Package): Promise<Gradients & { feeds: ReadonlyMap<string, Tensor> }> {
  const { state } = stepOf(pkg);
  const probe = exposeStep(state);
  const feeds = stepFeeds(state, constantsByName(pkg.loaded.rev), SEED);
  const results = await runOnce(state.model, feeds, [probe.loss, ...probe.gradients.values()]);
  const rounded = new Map(
    [...byName(feeds)].map(([name, t]) => [
      name,
      t.dtype === 'float32' ? new Tensor(t.dtype, t.dims, t.data.map(Math.fround)) : t,
    ]),
  );
  return {
    loss: results.get(probe.loss)?.[0] ?? NaN,
    gradients: new Map([...probe.gradients].map(([n, v]) => [n, results.get(v) ?? []])),
    feeds: rounded,
  };
}

test.each(CASES)('$name', async ({ make, batch, partition }) => {
  await withFolder(async (folder) => {
    const pkg = packageOf(make(folder), join(folder, 'out'), { batch, partition });
    const own = await ownRun(pkg);
    const run = (mode: 'reversible' | 'stored', dtype: 'float32' | 'float64'): Gradients =>
      runPackage(pkg, own.feeds, { mode, dtype, threads: 2 });
    const [torch, plain, exact] = [
      run('reversible', 'float32'),
      run('stored', 'float32'),
      run('stored', 'float64'),
    ];
    expect([...torch.gradients.keys()].sort()).toEqual([...own.gradients.keys()].sort());
    expect(torch.loss).toBeCloseTo(own.loss, 4);
    expect(torch.loss).toBeCloseTo(exact.loss, 4);
    const apart = compareGradients(torch.gradients, own.gradients);
    expect(apart.relL2).toBeLessThanOrEqual(2e-2);
    expect(apart.angleDegrees).toBeLessThanOrEqual(1);
    const noise = compareGradients(plain.gradients, exact.gradients);
    const error = compareGradients(torch.gradients, exact.gradients);
    expect(error.relL2).toBeLessThanOrEqual(3 * noise.relL2 + 1e-3);
    expect(error.medianTensor).toBeLessThanOrEqual(3 * noise.medianTensor + 1e-3);
  });
});
