// The same training under all lowerings. In float32 two exact kernels part after some steps, so single losses are
// compared at the beginning, and their mean later.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { preResNet, resNetImageNet } from '../../fixtures/models.js';
import type { Settings } from '../../passes/index.js';
import { probeBlock } from '../../runtime/index.js';
import { train } from '../../runtime/train.js';
import { compile, writeFolder } from '../../src/compiler/index.js';
import type { Model } from '../../src/ir/index.js';

const [STEPS, RATE] = [50, 0.1];

type How = Partial<Pick<Settings, 'target' | 'block'>>;

const block = await probeBlock();

async function lossesOf(model: Model, how: How): Promise<readonly number[]> {
  const dir = mkdtempSync(join(tmpdir(), 'revnetify-targets-'));
  try {
    const settings = { name: 'net', source: 'net.onnx', batch: 32, ...how };
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

const NETWORKS: readonly { name: string; make: () => Model }[] = [
  { name: 'ResNet-20', make: () => preResNet({ depth: 20, width: 16, image: 16, seed: 1 }) },
  {
    name: 'bottlenecks with a max pool',
    make: () =>
      resNetImageNet({ layers: [3, 3], block: 'bottleneck', width: 8, image: 32, classes: 10 }),
  },
];

test('this CPU has kernels in blocked layout', () => {
  expect([8, 16]).toContain(block);
});

describe.each(NETWORKS)('$name', ({ make }) => {
  const portable = lossesOf(make(), { target: 'portable' });

  test.each<{ name: string; how: How }>([
    { name: 'cpu', how: { target: 'cpu' } },
    { name: 'cpu-blocked', how: { target: 'cpu', block } },
  ])('losses of $name and portable', async ({ how }) => {
    const [own, other] = [await lossesOf(make(), how), await portable];
    expect(own.length).toBe(STEPS);
    for (const step of [0, 1, 2])
      expect(Math.abs((own[step] ?? NaN) - (other[step] ?? NaN))).toBeLessThan(1e-4);
    const [late, rest] = [mean(own.slice(40)), mean(other.slice(40))];
    expect(Math.abs(late - rest) / rest).toBeLessThan(0.03);
    // They are different kernels.
    expect(own).not.toEqual(other);
  });
});
