// A deep step run segment by segment is the step that one session runs: the same losses and the same state, bit for bit.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { preResNet } from '../../fixtures/models.js';
import type { Settings } from '../../passes/index.js';
import { segmentBackend, wholeBackend } from '../../runtime/backend.js';
import type { Backend } from '../../runtime/backend.js';
import {
  BatchLoader,
  buffersOf,
  loadDataset,
  measureNormalisation,
} from '../../runtime/data/index.js';
import { batchShape, stateInputs } from '../../runtime/plan.js';
import { loadSegments } from '../../runtime/segments/index.js';
import { initialState } from '../../runtime/parameters.js';
import { loadRuntime } from '../../runtime/session.js';
import { TrainingStep } from '../../runtime/step.js';
import { compile, writeFolder } from '../../src/compiler/index.js';
import type { Plan } from '../../src/plan/index.js';

const STEPS = 4;

interface Outcome {
  readonly losses: readonly number[];
  readonly state: ReadonlyMap<string, Float32Array>;
}

async function runSteps(
  dir: string,
  plan: Plan,
  backend: Backend,
  inPlace = true,
): Promise<Outcome> {
  const wanted = batchShape(plan);
  const data = loadDataset('random', 'train', wanted);
  const loader = new BatchLoader(data, {
    batch: wanted.batch,
    seed: 1,
    augment: { flip: false, cropPadding: 0 },
    normalise: measureNormalisation(data),
  });
  const step = await TrainingStep.open(dir, plan, {
    threads: 2,
    inPlace,
    seed: 5,
    backend,
  });
  try {
    const losses: number[] = [];
    for (let i = 0; i < STEPS; i++) {
      // Other arrays each time, as a feed with two buffers hands them over.
      const buffers = buffersOf(data, wanted.batch, wanted.sides);
      loader.next(buffers);
      losses.push((await step.run({ ...buffers, learningRate: 0.05 })).loss);
    }
    const state = stateInputs(plan).map(({ name }) => [name, step.state(name).slice()] as const);
    return { losses, state: new Map(state) };
  } finally {
    await step.dispose();
  }
}

async function withFolder<T>(
  settings: Partial<Settings>,
  use: (dir: string, plan: Plan) => Promise<T>,
  depth = 182,
): Promise<T> {
  const model = preResNet({ depth, width: 2, image: 8, seed: 1 });
  const compiled = compile(model, { name: 'net', source: 'net.onnx', batch: 4, ...settings });
  const dir = mkdtempSync(join(tmpdir(), 'segments-'));
  try {
    writeFolder(compiled, dir);
    return await use(dir, compiled.plan);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

const WAYS: Readonly<Record<string, Partial<Settings>>> = {
  'reversed, two streams': {},
  'reversed, weights carried over': { recipe: 'rewire' },
  stored: { recipe: 'none', policy: 'store' },
  checkpointed: { recipe: 'none', policy: 'recompute' },
  'AdamW, clipped, two batches per update': { optimizer: 'adamw', clipNorm: 0.5, accumulate: 2 },
};

describe.each(Object.entries(WAYS))('%s', (_, settings) => {
  test('losses and state are those of one session', async () => {
    await withFolder(settings, async (dir, plan) => {
      expect(plan.memory.plan.graphOptimization).toBe('none');
      const whole = await runSteps(dir, plan, wholeBackend);
      const cut = await runSteps(dir, plan, segmentBackend);
      expect(cut.losses).toEqual(whole.losses);
      expect(new Set(cut.losses).size).toBe(STEPS);
      expect(cut.state).toEqual(whole.state);
      const apart = await runSteps(dir, plan, segmentBackend, false);
      expect(apart.losses).toEqual(whole.losses);
      expect(apart.state).toEqual(whole.state);
    });
  }, 120_000);
});

test('deeper, it has more segments, but no more kinds of them', async () => {
  const runtime = await loadRuntime();
  const counts = async (depth: number): Promise<{ segments: number; kinds: number }> =>
    withFolder(
      {},
      async (dir, plan) => {
        const path = join(dir, plan.model.train);
        const session = { optimize: false, threads: 1 };
        const state = initialState(dir, plan);
        const parts = await loadSegments(runtime, { path, plan, state, inPlace: true, session });
        if (!parts) throw new Error('it was not cut');
        for (const one of parts.sessions) await one.release();
        return { segments: parts.list.length, kinds: parts.sessions.length };
      },
      depth,
    );
  const [shallower, deeper] = [await counts(182), await counts(254)];
  // A coupling for every other layer, forward and backward.
  expect(deeper.segments - shallower.segments).toBeGreaterThanOrEqual(254 - 182);
  // The last piece of a row of updates is as long as it is.
  expect(deeper.kinds).toBeLessThanOrEqual(shallower.kinds + 2);
  expect(deeper.kinds).toBeLessThan(40);
}, 120_000);
