// Checkpoints of a training in this process: cut off by an abort and continued, it equals one that ran through.

import { mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { TrainOptions } from '../../runtime/options.js';
import { train } from '../../runtime/train.js';
import type { TrainResult } from '../../runtime/train.js';
import { writeTinyStep } from './tiny-step.js';

let root: string;
let dir: string;
let at: string;
beforeEach(() => {
  root = mkdtempSync(join(tmpdir(), 'resume-'));
  dir = join(root, 'out');
  at = join(root, 'checkpoints');
  mkdirSync(dir);
  writeTinyStep(dir);
});
afterEach(() => rmSync(root, { recursive: true }));

const options = (change: Partial<TrainOptions> = {}): TrainOptions => ({
  data: 'random',
  // More than one epoch of 4,096 samples, so that both orders are met.
  steps: 530,
  lr: 0.05,
  warmup: 20,
  threads: 1,
  checkpointEvery: 100,
  checkpointDir: at,
  augment: true,
  ...change,
});

/** Ends after so many steps, as Ctrl-C does. */
async function stopped(after: number, change: Partial<TrainOptions> = {}): Promise<TrainResult> {
  const controller = new AbortController();
  return train(dir, options(change), {
    every: 1,
    signal: controller.signal,
    progress: ({ step }) => {
      if (step === after) controller.abort();
    },
  });
}

const files = (): string[] => readdirSync(at).sort();
const newest = (): string => join(at, files().at(-1) ?? '');
const trained = (): Buffer => readFileSync(join(dir, 'tiny.trained.onnx'));

describe('a resumed training', () => {
  test('equals an uninterrupted one in losses, weights and evaluation', async () => {
    const whole = await train(dir, options({ checkpointDir: join(root, 'other') }));
    const bytes = trained();
    await stopped(37);
    expect(files()).toEqual(['tiny.step-37.safetensors']);
    await stopped(520, { resume: true });
    const rest = await train(dir, options({ resume: true, inPlace: false }));
    expect(rest.resumedFrom).toBe(520);
    expect(rest.losses).toEqual(whole.losses);
    expect(rest.evaluation).toEqual(whole.evaluation);
    expect(trained().equals(bytes)).toBe(true);
    expect(rest.checkpoint).toBe(join(at, 'tiny.step-530.safetensors'));
    expect(files()).toEqual(['tiny.step-530.safetensors']);
    // Nothing is left to do: only the model is written and evaluated again.
    const again = await train(dir, options({ resume: true }));
    expect(again.losses).toEqual(whole.losses);
    expect(again.evaluation).toEqual(whole.evaluation);
  });

  test('starts from the beginning where there is no checkpoint', async () => {
    const notes: string[] = [];
    const result = await train(dir, options({ resume: true, steps: 3 }), {
      note: (text) => notes.push(text),
    });
    expect(result.resumedFrom).toBeUndefined();
    expect(notes.join()).toMatch(/no checkpoint in .*checkpoints: starting from the beginning/);
  });

  test('continues its log without a doubled or missing step', async () => {
    const change = { steps: 30, checkpointEvery: 10, evaluateEvery: 5, evaluate: true };
    const log = join(root, 'log.csv');
    await train(dir, options({ ...change, checkpointDir: join(root, 'other'), log }));
    const timeless = (): string[] =>
      readFileSync(log, 'utf8')
        .trimEnd()
        .split('\n')
        .map((line) =>
          line
            .split(',')
            .filter((_, i) => i !== 5 && i !== 6)
            .join(),
        );
    const whole = timeless();
    expect(whole[0]).toBe(
      'step,epoch,loss,accuracy,learningRate,testSamples,testCorrect,testAccuracy,testLabels,testLoss',
    );
    // 30 steps, 5 evaluations on the way, 1 at the end.
    expect(whole).toHaveLength(1 + 30 + 5 + 1);
    await stopped(10, { ...change, log });
    // What a killed training wrote after its checkpoint, and the half of a line.
    writeFileSync(log, `${readFileSync(log, 'utf8')}11,0,1,1,1,1,1,,,\n12,0,3.`);
    await train(dir, options({ ...change, log, resume: true }));
    expect(timeless()).toEqual(whole);
  });

  test('refuses a log that is shorter than at the checkpoint', async () => {
    const log = join(root, 'log.jsonl');
    await stopped(10, { log });
    writeFileSync(log, '');
    const bad = train(dir, options({ log, resume: true }));
    await expect(bad).rejects.toMatchObject({ code: 'usage/output', where: log });
  });
});

describe('a checkpoint', () => {
  test.each<[string, Partial<TrainOptions>, RegExp]>([
    ['steps', { steps: 531 }, /^steps was 530, now 531$/],
    ['rate', { lr: 0.1, warmup: 0 }, /lr was 0.05, now 0.1; warmup was 20, now 0/],
    ['seed', { seed: 3 }, /seed was 0, now 3/],
    ['schedule', { lrSchedule: { kind: 'linear' } }, /shape was .*cosine.*, now .*linear/],
    ['augmentation', { augment: false }, /data was .*"flip":true.*, now .*"flip":false/],
  ])('of another training is refused: %s', async (_, change, why) => {
    await stopped(5);
    const bad = train(dir, options({ ...change, resume: true }));
    const message: unknown = expect.stringMatching(why);
    await expect(bad).rejects.toMatchObject({ code: 'checkpoint/other', why: message });
    expect(files()).toEqual(['tiny.step-5.safetensors']);
  });

  test('of another model is refused', async () => {
    await stopped(5);
    const rev = join(dir, 'tiny.rev.onnx');
    // A description more: the same network, another file.
    writeFileSync(rev, Buffer.concat([readFileSync(rev), Buffer.from([0x32, 1, 0x78])]));
    const bad = train(dir, options({ resume: true }));
    const why: unknown = expect.stringContaining('tiny.rev.onnx');
    await expect(bad).rejects.toMatchObject({ code: 'checkpoint/other', why });
  });

  test('is not overwritten by a training that does not continue it', async () => {
    await stopped(5);
    const bytes = readFileSync(newest());
    await expect(train(dir, options())).rejects.toMatchObject({ code: 'checkpoint/exists' });
    expect(readFileSync(newest()).equals(bytes)).toBe(true);
  });

  test('that is damaged is skipped for an older one, and refused where there is none', async () => {
    await stopped(5);
    const older = readFileSync(newest());
    await stopped(9, { resume: true });
    const damaged = readFileSync(newest());
    damaged.writeUInt8(damaged.readUInt8(damaged.length - 100) ^ 4, damaged.length - 100);
    writeFileSync(join(at, 'tiny.step-9.safetensors'), damaged);
    const bad = train(dir, options({ resume: true }));
    await expect(bad).rejects.toMatchObject({
      code: 'checkpoint/damaged',
      why: 'its checksum is wrong',
    });
    writeFileSync(join(at, 'tiny.step-5.safetensors'), older);
    const notes: string[] = [];
    const hooks = { note: (text: string) => notes.push(text) };
    const result = await train(dir, options({ resume: true }), hooks);
    expect(result.resumedFrom).toBe(5);
    expect(notes.join()).toMatch(/step-9.* is skipped: its checksum is wrong/);
  });

  test('left half-written is cleared away', async () => {
    await stopped(5);
    writeFileSync(join(at, '.tiny.step-9.safetensors.0123456789ab.tmp'), 'half');
    writeFileSync(join(at, '.other.step-9.safetensors.0123456789ab.tmp'), 'not ours');
    await stopped(6, { resume: true });
    expect(files()).toEqual([
      '.other.step-9.safetensors.0123456789ab.tmp',
      'tiny.step-6.safetensors',
    ]);
  });
});
