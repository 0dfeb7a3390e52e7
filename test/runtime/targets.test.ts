// The same training under both lowerings. In float32 two exact kernels part after some steps, so single losses are
// compared at the beginning, and their mean later.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { preResNet, resNetImageNet } from '../../fixtures/models.js';
import { train } from '../../runtime/train.js';
import { compile, writeFolder } from '../../src/compiler/index.js';
import type { Model } from '../../src/ir/index.js';
import type { Target } from '../../src/lowering/index.js';

const [STEPS, RATE] = [50, 0.1];

async function lossesOf(model: Model, target: Target): Promise<readonly number[]> {
  const dir = mkdtempSync(join(tmpdir(), 'revnetify-targets-'));
  try {
    const settings = { name: 'net', source: 'net.onnx', batch: 32, target };
    writeFolder(compile(model, settings), dir);
    const options = { data: 'random', steps: STEPS, lr: RATE, evaluate: false } as const;
    const { losses } = await train(dir, {
      ...options,
      lrSchedule: { kind: 'constant' },
      threads: 2,
    });
    return losses;
  } finally {
    rmSync(dir, { recursive: true });
  }
}

const mean = (values: readonly number[]): number =>
  values.reduce((sum, x) => sum + x, 0) / values.length;

test.each<{ name: string; make: () => Model }>([
  { name: 'ResNet-20', make: () => preResNet({ depth: 20, width: 8, image: 16, seed: 1 }) },
  {
    name: 'bottlenecks with a max pool',
    make: () =>
      resNetImageNet({ layers: [3, 3], block: 'bottleneck', width: 8, image: 32, classes: 10 }),
  },
])('$name: losses of cpu and portable', async ({ make }) => {
  const [cpu, portable] = [await lossesOf(make(), 'cpu'), await lossesOf(make(), 'portable')];
  expect(cpu.length).toBe(STEPS);
  for (const step of [0, 1, 2])
    expect(Math.abs((cpu[step] ?? NaN) - (portable[step] ?? NaN))).toBeLessThan(1e-4);
  const [late, other] = [mean(cpu.slice(40)), mean(portable.slice(40))];
  expect(Math.abs(late - other) / other).toBeLessThan(0.03);
  // They are different kernels.
  expect(cpu).not.toEqual(portable);
});
