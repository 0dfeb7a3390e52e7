// Networks with other losses than one label per sample: compiled, verified in ONNX Runtime, stepped, read back.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { preResNet } from '../../fixtures/models.js';
import type { Settings } from '../../passes/index.js';
import type { Progress } from '../../runtime/loop.js';
import { readPlan } from '../../runtime/plan.js';
import { createSession, loadRuntime } from '../../runtime/session.js';
import { TrainingStep } from '../../runtime/step.js';
import { train } from '../../runtime/train.js';
import { checkStep, compile, loadCoupled, writeFolder } from '../../src/compiler/index.js';
import type { Model } from '../../src/ir/index.js';
import { verifyModel } from '../../src/verify/index.js';
import { npy } from '../runtime/data/files.js';

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
  { loss: 'cross-entropy', target: 'portable' },
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
});

// A GPU neither compares nor converts the labels' 64 bits: it looks them up.
test.each([255, -100, 1])(
  'labels are the same ones on every target, %i ignored',
  async (ignoreIndex) => {
    const results: number[][] = [];
    for (const target of ['cpu', 'portable'] as const) {
      const settings = { recipe: 'rewire', batch: 4, ignoreIndex, target } as const;
      writeFolder(compile(dense(), { name: 'net', source: 'net.onnx', ...settings }), dir);
      const { plan } = readPlan(dir);
      const classes = plan.assumptions.classes;
      const labels = BigInt64Array.from({ length: 4 * SMALL * SMALL }, (_, i) =>
        BigInt(i % 3 === 0 ? ignoreIndex : i % classes),
      );
      const images = Float32Array.from({ length: 4 * 3 * SIDE * SIDE }, (_, i) => Math.sin(i));
      const step = await TrainingStep.open(dir, plan, { threads: 1 });
      for (let i = 0; i < 2; i++) {
        const { loss, correct } = await step.run({ images, labels, learningRate: 0.02 });
        results.push([loss, correct]);
      }
      await step.dispose();
    }
    const [first, second, ...portable] = results;
    expect(first?.[1]).toBeGreaterThan(0);
    for (const [i, want] of [first, second].entries())
      want?.forEach((value, j) => expect(portable[i]?.[j]).toBeCloseTo(value, 4));
  },
);

// ---- revnetify train on arrays

const COUNT = 10;
const SIDE = 8;
/** Of the features. */
const SMALL = 2;

/** A folder of images, the training split twice, and what they are compared with. */
function arrays(images: Float32Array, answers: Buffer): string {
  for (const split of ['train', 'test']) {
    const bytes = new Uint8Array(images.buffer);
    writeFileSync(join(dir, `${split}-images.npy`), npy('<f4', [COUNT, 3, SIDE, SIDE], bytes));
    writeFileSync(join(dir, `${split}-labels.npy`), answers);
  }
  return dir;
}

async function outputs(model: string, images: Float32Array): Promise<Float32Array> {
  const { Tensor } = await loadRuntime();
  const session = await createSession(model, { threads: 1 });
  const feed = new Tensor('float32', images, [COUNT, 3, SIDE, SIDE]);
  const [result] = Object.values(await session.run({ input: feed }));
  await session.release();
  return result?.data as Float32Array;
}

const photographs = Float32Array.from({ length: COUNT * 3 * SIDE * SIDE }, (_, i) => Math.sin(i));

test('training on labels per pixel, some of which do not count', async () => {
  const settings = { loss: 'cross-entropy', ignoreIndex: 255, recipe: 'rewire', batch: 4 } as const;
  writeFolder(compile(dense(), { name: 'net', source: 'net.onnx', ...settings }), dir);
  const classes = readPlan(dir).plan.assumptions.classes;
  const labels = Uint8Array.from({ length: COUNT * SMALL * SMALL }, (_, i) =>
    i % 5 === 0 ? 255 : Number((photographs[i % photographs.length] ?? 0) > 0) * (classes - 1),
  );
  const data = arrays(photographs, npy('|u1', [COUNT, SMALL, SMALL], labels));
  const log = join(dir, 'log.jsonl');
  const result = await train(dir, { data, steps: 12, lr: 0.05, threads: 1, log });
  expect(result.losses.at(-1)).toBeLessThan(result.losses[0] ?? NaN);

  const scores = await outputs(result.model ?? '', photographs);
  const [plane, sample] = [SMALL ** 2, classes * SMALL ** 2];
  let correct = 0;
  labels.forEach((label, i) => {
    const first = Math.floor(i / plane) * sample + (i % plane);
    const own = Array.from({ length: classes }, (_, c) => scores[first + c * plane] ?? NaN);
    if (own.indexOf(Math.max(...own)) === label) correct++;
  });
  const counted = labels.filter((label) => label !== 255).length;
  const accuracy = correct / counted;
  expect(result.evaluation).toEqual({ samples: COUNT, labels: counted, correct, accuracy });
  expect(correct).toBeGreaterThan(0);
  const rows = readFileSync(log, 'utf8').trim().split('\n');
  const first = JSON.parse(rows[0] ?? '') as { accuracy: number };
  expect(first.accuracy).toBeGreaterThanOrEqual(0);
  expect(first.accuracy).toBeLessThanOrEqual(1);

  labels[7] = classes;
  arrays(photographs, npy('|u1', [COUNT, SMALL, SMALL], labels));
  await expect(train(dir, { data, steps: 1 })).rejects.toThrow(
    new RegExp(`sample 1 has label ${classes}[^]*${classes} classes[^]*--ignore-index`),
  );
  arrays(photographs, npy('|u1', [COUNT], labels.slice(0, COUNT)));
  await expect(train(dir, { data, steps: 1 })).rejects.toThrow(
    /compares with whole numbers \[N, 2, 2\], this is \[10\] of \|u1/,
  );
  expect((await train(dir, { data: 'random', steps: 2, threads: 1 })).losses).toHaveLength(2);
});

test('training on float targets', async () => {
  const settings = { loss: 'mse', recipe: 'rewire', batch: 4 } as const;
  writeFolder(compile(dense(), { name: 'net', source: 'net.onnx', ...settings }), dir);
  const shape = readPlan(dir)
    .plan.inputs.find(({ role }) => role === 'labels')
    ?.shape.slice(1);
  const size = (shape ?? []).reduce((n, d) => n * d, 1);
  const targets = Float64Array.from({ length: COUNT * size }, (_, i) => Math.cos(i));
  const doubles = (dims: readonly number[]): Buffer =>
    npy('<f8', dims, new Uint8Array(targets.buffer));
  const data = arrays(photographs, doubles([COUNT, ...(shape ?? [])]));
  const log = join(dir, 'log.csv');
  const reports: Progress[] = [];
  const progress = (report: Progress): void => void reports.push(report);
  const options = { data, steps: 12, lr: 0.05, threads: 1, log };
  const result = await train(dir, options, { progress });
  expect(result.losses.at(-1)).toBeLessThan(result.losses[0] ?? NaN);
  expect(reports).not.toHaveLength(0);
  for (const report of reports) expect(report).not.toHaveProperty('accuracy');

  const values = await outputs(result.model ?? '', photographs);
  const squares = targets.map((t, i) => ((values[i] ?? NaN) - Math.fround(t)) ** 2);
  const { samples, loss, ...rest } = result.evaluation ?? {};
  expect([samples, rest]).toEqual([COUNT, {}]);
  expect(loss).toBeCloseTo(squares.reduce((a, b) => a + b, 0) / squares.length, 5);
  const [, firstRow, ...others] = readFileSync(log, 'utf8').trim().split('\n');
  expect(firstRow?.split(',')[3]).toBe('');
  expect(others.at(-1)).toBe(`12,,,,,,,${COUNT},,,,${String(loss)}`);

  arrays(photographs, doubles([COUNT, size]));
  await expect(train(dir, { data, steps: 1 })).rejects.toThrow(/compares with floats \[N, /);
  expect((await train(dir, { data: 'random', steps: 2, threads: 1 })).losses).toHaveLength(2);
});
