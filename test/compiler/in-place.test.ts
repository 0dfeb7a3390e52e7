// Weights updated in place in ONNX Runtime, which does not know of it: every reader of an old value must have run. If
// one had not, it would silently read the new value, and the trainings would part.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { preResNet, resNetImageNet } from '../../fixtures/models.js';
import type { Settings } from '../../passes/index.js';
import { probeBlock } from '../../runtime/index.js';
import { TrainingStep } from '../../runtime/step.js';
import { compile } from '../../src/compiler/index.js';
import type { Model } from '../../src/ir/index.js';
import { writeModel } from '../../src/onnx/index.js';
import { Random } from '../../src/ops/index.js';
import type { Plan } from '../../src/plan/index.js';

const block = await probeBlock();
const BATCH = 8;
const IMAGE = 32;
const CLASSES = 5;
const STEPS = 6;
const RATE = 0.1;

interface Training {
  readonly losses: readonly number[];
  readonly weights: readonly (readonly [string, readonly number[]])[];
}

async function train(dir: string, plan: Plan, inPlace: boolean): Promise<Training> {
  const step = await TrainingStep.open(dir, plan, { threads: 1, inPlace });
  const random = new Random(3);
  const losses: number[] = [];
  for (let i = 0; i < STEPS; i++) {
    const images = Float32Array.from(random.tensor([BATCH, 3, IMAGE, IMAGE]).data);
    const labels = BigInt64Array.from({ length: BATCH }, () =>
      BigInt(random.integer(0, CLASSES - 1)),
    );
    losses.push((await step.run({ images, labels, learningRate: RATE })).loss);
  }
  const weights = [...step.weights()].map(([name, values]) => [name, [...values]] as const);
  await step.dispose();
  return { losses, weights };
}

const NETWORKS: readonly (readonly [string, () => Model])[] = [
  ['pre-activation', () => preResNet({ depth: 20, width: 8, image: IMAGE, classes: CLASSES })],
  [
    'v1 bottleneck',
    () =>
      resNetImageNet({
        layers: [3, 3],
        block: 'bottleneck',
        width: 8,
        image: IMAGE,
        classes: CLASSES,
      }),
  ],
];

describe.each(NETWORKS)('%s', (_name, make) => {
  test.each<Partial<Settings>>([
    { target: 'cpu' },
    { target: 'cpu', block },
    { target: 'portable' },
    { optimizer: 'adamw' },
    { optimizer: 'adamw', clipNorm: 1, accumulate: 2 },
  ])('in place as with buffers of its own: %j', async (settings) => {
    const dir = mkdtempSync(join(tmpdir(), 'revnetify-in-place-'));
    try {
      const {
        rev,
        train: step,
        plan,
      } = compile(make(), {
        name: 'net',
        source: 'net.onnx',
        batch: BATCH,
        ...settings,
      });
      writeModel(rev, join(dir, plan.model.rev));
      writeModel(step, join(dir, plan.model.train));
      const updated = plan.inputs.filter((input) => input.next !== undefined);
      expect(updated.length).toBeGreaterThan(0);
      expect(updated.every((input) => input.inPlace === true)).toBe(true);
      const aliased = await train(dir, plan, true);
      expect(new Set(aliased.losses).size).toBe(STEPS);
      expect(await train(dir, plan, false)).toEqual(aliased);
    } finally {
      rmSync(dir, { recursive: true });
    }
  });
});
