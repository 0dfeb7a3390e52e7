import { existsSync, mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { loadDataset, measureNormalisation } from '../../runtime/data/index.js';
import { evaluateModel } from '../../runtime/evaluate.js';
import { chooseAugment } from '../../runtime/data/augment.js';
import { createSession, loadRuntime } from '../../runtime/session.js';
import { train } from '../../runtime/train.js';
import type { Progress } from '../../runtime/loop.js';
import type { TrainResult } from '../../runtime/train.js';
import { readModel } from '../../src/onnx/index.js';
import { BATCH, CLASSES, batchOf, initialWeights, writeTinyStep } from './tiny-step.js';

/** The file a training that did at least one step has written. */
const modelOf = ({ model }: TrainResult): string => model ?? '';

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'train-'));
  writeTinyStep(dir);
});
afterAll(() => rmSync(dir, { recursive: true }));

const OPTIONS = { data: 'random', steps: 25, lr: 0.05, threads: 1 } as const;
const TRAINED = 'tiny.trained.onnx';

async function scores(file: string, rows: number): Promise<number[]> {
  const { Tensor } = await loadRuntime();
  const session = await createSession(join(dir, file), { threads: 1 });
  const images = batchOf(0).images.slice(0, (rows * batchOf(0).images.length) / BATCH);
  const { logits } = await session.run({ images: new Tensor('float32', images, [rows, 2, 3, 3]) });
  const result = [...(logits?.data as Float32Array)];
  await session.release();
  return result;
}

describe('train', () => {
  test('the same seed gives the same losses, another seed others', async () => {
    const quick = { ...OPTIONS, evaluate: false };
    const first = await train(dir, { ...quick, seed: 1 });
    const bytes = readFileSync(join(dir, TRAINED));
    const second = await train(dir, { ...quick, seed: 1 });
    expect(second.losses).toEqual(first.losses);
    expect(readFileSync(join(dir, TRAINED)).equals(bytes)).toBe(true);
    expect((await train(dir, { ...quick, seed: 2 })).losses).not.toEqual(first.losses);
    expect((await train(dir, { ...quick, seed: 1, inPlace: false })).losses).toEqual(first.losses);
  });

  test('the trained model runs at any batch size and differs from rev.onnx', async () => {
    const before = readFileSync(join(dir, 'tiny.rev.onnx'));
    const result = await train(dir, OPTIONS);
    const { evaluation, steps, interrupted } = result;
    const model = modelOf(result);
    expect(model).toBe(join(dir, TRAINED));
    expect(steps).toBe(25);
    expect(interrupted).toBe(false);
    expect(readFileSync(join(dir, 'tiny.rev.onnx')).equals(before)).toBe(true);
    for (const rows of [1, 5]) {
      const trained = await scores(TRAINED, rows);
      expect(trained).toHaveLength(rows * CLASSES);
      expect(trained).not.toEqual(await scores('tiny.rev.onnx', rows));
    }
    const constants = new Map([...readModel(model).graph.constants].map((v) => [v.name, v]));
    const values = (name: string): number[] =>
      constants.get(name)?.constant?.load().toArray() ?? [];
    expect(values('W')).not.toEqual([...initialWeights()]);
    expect(values('mean').some((v) => v !== 0)).toBe(true);
    const { metadata } = readModel(model);
    expect(metadata.get('revnetify.running_statistics')).toBe('trained');
    expect(metadata.get('revnetify.trained')).toBe('25 steps');
    // Evaluated again by hand: the same answer.
    const shape = { channels: 2, height: 3, width: 3, classes: CLASSES };
    const normalise = measureNormalisation(loadDataset('random', 'train', shape));
    expect(JSON.parse(metadata.get('revnetify.normalisation') ?? '')).toEqual(normalise);
    const again = await evaluateModel(model, loadDataset('random', 'test', shape), normalise, {
      threads: 1,
      input: { name: 'images', shape: [100, 2, 3, 3] },
    });
    expect(again).toEqual(evaluation);
    expect(again.samples).toBe(4096);
    const { correct = NaN } = again;
    expect(correct).toBeGreaterThan(0);
    expect(again).toEqual({ samples: 4096, labels: 4096, correct, accuracy: correct / 4096 });
  });

  test('reports progress and writes a log', async () => {
    const reports: Progress[] = [];
    const log = join(dir, 'log.jsonl');
    const { losses } = await train(
      dir,
      { ...OPTIONS, warmup: 5, lrSchedule: { kind: 'linear' }, log },
      { every: 10, progress: (p) => reports.push(p) },
    );
    expect(reports.map((p) => p.step)).toEqual([10, 20, 25]);
    const mean = (from: number, to: number): number =>
      losses.slice(from, to).reduce((a, b) => a + b, 0) / (to - from);
    expect(reports[1]?.loss).toBeCloseTo(mean(10, 20), 12);
    expect(reports[2]?.loss).toBeCloseTo(mean(20, 25), 12);
    for (const p of reports) {
      expect(p.accuracy).toBeGreaterThanOrEqual(0);
      expect(p.accuracy).toBeLessThanOrEqual(1);
      expect(p.imagesPerSecond).toBeGreaterThan(0);
      expect(p.peakBytes).toBeGreaterThan(10e6);
    }
    const lines = readFileSync(log, 'utf8').trimEnd().split('\n');
    const parsed = lines.map((line) => JSON.parse(line) as Record<string, unknown>);
    expect(parsed).toHaveLength(26);
    expect(parsed.slice(0, 25).map((l) => l['loss'])).toEqual(losses);
    const rate = (line: number): number => Number(parsed[line]?.['learningRate']);
    expect(rate(0)).toBeCloseTo(0.01, 12);
    expect(rate(4)).toBeCloseTo(0.05, 12);
    expect(rate(24)).toBeCloseTo(0.05 / 20, 12);
    expect(parsed[25]?.['evaluation']).toMatchObject({ samples: 4096 });
  });

  test('epochs count samples', async () => {
    const { steps } = await train(dir, {
      data: 'random',
      epochs: 0.01,
      threads: 1,
      evaluate: false,
    });
    expect(steps).toBe(Math.ceil(40.96 / BATCH));
  });

  test('an abort finishes the step, writes the model and leaves out the evaluation', async () => {
    rmSync(join(dir, TRAINED), { force: true });
    const controller = new AbortController();
    const result = await train(dir, OPTIONS, {
      every: 1,
      signal: controller.signal,
      progress: ({ step }) => {
        if (step === 4) controller.abort();
      },
    });
    expect(result).toMatchObject({ steps: 4, interrupted: true });
    expect(result.evaluation).toBeUndefined();
    expect(readModel(modelOf(result)).metadata.get('revnetify.trained')).toBe('4 steps');
  });

  test('an abort from outside is seen between steps', async () => {
    const controller = new AbortController();
    const timer = setTimeout(() => controller.abort(), 50);
    const options = { ...OPTIONS, steps: 1_000_000 };
    const result = await train(dir, options, { signal: controller.signal });
    clearTimeout(timer);
    expect(result.interrupted).toBe(true);
    expect(existsSync(modelOf(result))).toBe(true);
  });

  test('a training that diverges leaves the last model alone', async () => {
    const before = readFileSync(join(dir, TRAINED));
    const wild = { ...OPTIONS, steps: 500, lr: 1e30, lrSchedule: { kind: 'constant' } } as const;
    await expect(train(dir, wild)).rejects.toMatchObject({ code: 'train/diverged' });
    expect(readFileSync(join(dir, TRAINED)).equals(before)).toBe(true);
  });

  test.each([
    { steps: 0 },
    { steps: 1.5 },
    { epochs: 1 },
    { lr: NaN },
    { momentum: 1 },
    { weightDecay: -1 },
    { warmup: 0.5 },
    { seed: 0.5 },
    { threads: 0 },
  ])('%j is refused', async (change) => {
    const bad = train(dir, { ...OPTIONS, ...change });
    await expect(bad).rejects.toMatchObject({ code: 'usage/option' });
  });

  test('a log that cannot be written is refused', async () => {
    const bad = train(dir, { ...OPTIONS, log: join(dir, 'no', 'log') });
    await expect(bad).rejects.toMatchObject({ code: 'usage/output' });
  });
});

describe('augmentation by default', () => {
  const images = (byte: (channel: number) => number): Uint8Array =>
    Uint8Array.from({ length: 3 * 32 * 32 }, (_, at) => byte(Math.floor(at / 1024)));
  const data = (channel: (c: number) => number): Parameters<typeof chooseAugment>[2] => ({
    name: 'made up',
    count: 1,
    channels: 3,
    height: 32,
    width: 32,
    classes: 10,
    images: images(channel),
    labels: new Uint8Array(1),
  });
  const cifar = { flip: true, cropPadding: 4 };
  const none = { flip: false, cropPadding: 0 };

  test('colour images of 32×32 are cropped and flipped, digits and noise are not', () => {
    expect(
      chooseAugment(
        undefined,
        'folder',
        data((c) => c),
      ),
    ).toEqual(cifar);
    expect(
      chooseAugment(
        undefined,
        'folder',
        data(() => 7),
      ),
    ).toEqual(none);
    expect(
      chooseAugment(
        undefined,
        'random',
        data((c) => c),
      ),
    ).toEqual(none);
    expect(
      chooseAugment(
        true,
        'random',
        data(() => 7),
      ),
    ).toEqual(cifar);
    expect(
      chooseAugment(
        false,
        'folder',
        data((c) => c),
      ),
    ).toEqual(none);
  });
});
