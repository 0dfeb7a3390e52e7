// What the package keeps for its backward pass, and what a whole step takes in a process of its own: beside ordinary
// autograd on the original network. Measured by bench/gpu/step.py, on the CPU.

import { mkdtempSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { expect, test } from 'vitest';
import { preResNet, resNetImageNet } from '../../fixtures/models.js';
import type { Settings } from '../../passes/index.js';
import type { Model } from '../../src/ir/index.js';
import { packageOf } from './package.js';
import { runPython, withFolder } from './python.js';

const script = fileURLToPath(new URL('../../bench/gpu/step.py', import.meta.url));

/** The paper's own saving of activations (Gomez et al. 2017, table 1). */
const OF_THE_PAPER = 0.726;

interface Measured {
  readonly savedBytes: number;
  readonly peakBytes: number;
}

const ORIGINAL: Partial<Settings> = { recipe: 'none', policy: 'store' };

function measured(
  folder: string,
  make: () => Model,
  settings: Partial<Settings>,
  request: {
    readonly batch: number;
    readonly mode: 'stored' | 'reversible';
    readonly copies?: number;
  },
): Measured {
  const dir = mkdtempSync(join(folder, 'package-'));
  const { path } = packageOf(make(), dir, { batch: 2, ...settings });
  const asked = {
    package: path,
    dtype: 'float32',
    steps: 1,
    saved: true,
    threads: 2,
    cpu: true,
    ...request,
  };
  // Freed memory goes back at once, so that the peak is what is in use.
  const env = { MALLOC_MMAP_THRESHOLD_: '1048576', MALLOC_TRIM_THRESHOLD_: '1048576' };
  return JSON.parse(runPython([script, JSON.stringify(asked)], { env })) as Measured;
}

const imageNet =
  (layers: readonly number[], image = 64) =>
  (): Model =>
    resNetImageNet({ layers: [...layers], block: 'bottleneck', image, classes: 100, seed: 3 });
const cifar = (depth: number) => (): Model => preResNet({ depth, seed: 3 });

const saving = (own: number, plain: number): number => 1 - own / plain;

test.each([
  { name: 'resnet50', layers: [3, 4, 6, 3] },
  { name: 'resnet101', layers: [3, 4, 23, 3] },
])('$name keeps less than the paper for its backward pass', async ({ layers }) => {
  await withFolder((folder) => {
    const make = imageNet(layers);
    const plain = measured(folder, make, ORIGINAL, { batch: 4, mode: 'stored' });
    for (const partition of ['widen', 'split'] as const) {
      const own = measured(folder, make, { partition }, { batch: 4, mode: 'reversible' });
      expect(saving(own.savedBytes, plain.savedBytes), partition).toBeGreaterThanOrEqual(
        OF_THE_PAPER,
      );
    }
  });
});

test('a step of resnet101 takes 60 % less', async () => {
  await withFolder((folder) => {
    // The gradients of its weights, which every step has at its end, are 0.2 GB; at a batch of 16 activations outweigh them.
    const [make, batch] = [imageNet([3, 4, 23, 3], 224), 16];
    const plain = measured(folder, make, ORIGINAL, { batch, mode: 'stored' });
    const own = measured(folder, make, {}, { batch, mode: 'reversible' });
    expect(saving(own.savedBytes, plain.savedBytes)).toBeGreaterThanOrEqual(OF_THE_PAPER);
    expect(saving(own.peakBytes, plain.peakBytes)).toBeGreaterThanOrEqual(0.6);
  });
});

test('ResNet-110 keeps as much as ResNet-20, and a step takes 60 % less than with stored activations', async () => {
  await withFolder((folder) => {
    const batch = 32;
    const shallow = measured(folder, cifar(20), {}, { batch, mode: 'reversible' });
    const deep = measured(folder, cifar(110), {}, { batch, mode: 'reversible' });
    const stored = measured(folder, cifar(110), { policy: 'store' }, { batch, mode: 'stored' });
    const plain = measured(folder, cifar(110), ORIGINAL, { batch, mode: 'stored' });
    expect(deep.savedBytes / shallow.savedBytes).toBeLessThanOrEqual(1.05);
    // The same network under ordinary autograd grows with depth: the count can tell.
    expect(stored.savedBytes / deep.savedBytes).toBeGreaterThan(10);
    expect(saving(deep.savedBytes, plain.savedBytes)).toBeGreaterThanOrEqual(OF_THE_PAPER);
    expect(saving(deep.peakBytes, plain.peakBytes)).toBeGreaterThanOrEqual(0.6);
  });
});
