// A network of tokens from the model to the trained one. In: the GPT of the fixtures, sequences that count upwards. Out:
// a loss that falls far below that of guessing, and refusals of arrays that are none for it.

import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { gpt } from '../../fixtures/transformers.js';
import { readPlan } from '../../runtime/plan.js';
import { train } from '../../runtime/train.js';
import { compile, writeFolder } from '../../src/compiler/index.js';
import type { Compiled } from '../../src/compiler/index.js';
import { readModel } from '../../src/onnx/index.js';
import { verifyModel } from '../../src/verify/index.js';
import { npy } from '../runtime/data/files.js';

const TOKENS = 6;
const VOCABULARY = 11;
const COUNT = 40;

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), 'tokens-'));
});
afterEach(() => rmSync(dir, { recursive: true }));

function compileGpt(more: { sides?: boolean } = {}): Compiled {
  const sizes = { tokens: TOKENS, vocabulary: VOCABULARY };
  const model = gpt({ depth: 2, width: 16, heads: 2, ...sizes, ...more, seed: 5 });
  const settings = { optimizer: 'adamw', recipe: 'rewire', batch: 8 } as const;
  const compiled = compile(model, { name: 'gpt', source: 'gpt.onnx', ...settings });
  writeFolder(compiled, dir);
  return compiled;
}

/** Token t of sequence n counts up from n; `ahead` of it is what is to be foretold. */
const counting = (ahead: number): number[] =>
  Array.from(
    { length: COUNT * TOKENS },
    (_, i) => (Math.floor(i / TOKENS) + (i % TOKENS) + ahead) % VOCABULARY,
  );

const int64 = (values: readonly number[]): Uint8Array =>
  new Uint8Array(BigInt64Array.from(values, BigInt).buffer);

function write(name: string, file: Buffer): void {
  for (const split of ['train', 'test']) writeFileSync(join(dir, `${split}-${name}.npy`), file);
}

test('learns to count, per token', async () => {
  compileGpt();
  const { plan } = readPlan(dir);
  expect(plan.chains).not.toEqual([]);
  expect(plan.inputs[0]).toMatchObject({ role: 'images', dtype: 'int64', limit: VOCABULARY });
  write('ids', npy('<i8', [COUNT, TOKENS], int64(counting(0))));
  write('labels', npy('|u1', [COUNT, TOKENS], Uint8Array.from(counting(1))));
  const settings = { data: dir, lr: 0.01, threads: 1 };
  const { losses, evaluation, model } = await train(dir, { ...settings, steps: 60 });
  expect(losses[0]).toBeGreaterThan(0.8 * Math.log(VOCABULARY));
  expect(losses.at(-1)).toBeLessThan(0.3);
  expect(evaluation).toMatchObject({ samples: COUNT, labels: COUNT * TOKENS });
  expect(evaluation?.accuracy).toBeGreaterThan(0.95);
  // Token numbers are not normalised, and the model does not say they are.
  expect(readModel(model ?? '').metadata.has('revnetify.normalisation')).toBe(false);
});

test('trains on random tokens', async () => {
  compileGpt();
  const { losses } = await train(dir, { data: 'random', steps: 3, threads: 1 });
  for (const loss of losses) expect(loss).toBeGreaterThan(1);
});

test.each<[string, Buffer, RegExp]>([
  [
    'a token beyond the table',
    npy('<i8', [COUNT, TOKENS], int64(counting(0).map((id) => (id === 10 ? 11 : id)))),
    /sample 5 holds token 11[^]*table of 11 rows \(0 to 10\)/,
  ],
  [
    'a token that does not fit a number of 32 bits',
    npy('<i8', [COUNT, TOKENS], int64(counting(0).map((id) => (id === 10 ? 2 ** 32 : id)))),
    /sample 5 holds 4294967296/,
  ],
  [
    'sequences of another length',
    npy('<i8', [COUNT, TOKENS + 1], int64(Array<number>(COUNT * (TOKENS + 1)).fill(0))),
    /takes whole numbers \[N, 6\], this is \[40, 7\] of <i8/,
  ],
  [
    'floats',
    npy('<f4', [COUNT, TOKENS], new Uint8Array(4 * COUNT * TOKENS)),
    /takes whole numbers \[N, 6\], this is \[40, 6\] of <f4/,
  ],
])('refuses %s', async (_, ids, why) => {
  compileGpt();
  write('ids', ids);
  write('labels', npy('|u1', [COUNT, TOKENS], Uint8Array.from(counting(1))));
  const bad = train(dir, { data: dir, steps: 1, threads: 1 });
  await expect(bad).rejects.toThrow(why);
  await expect(bad).rejects.toMatchObject({ code: 'data/invalid' });
});

test('refuses to crop and flip sequences', async () => {
  compileGpt();
  const bad = train(dir, { data: 'random', steps: 1, augment: true });
  await expect(bad).rejects.toMatchObject({ code: 'usage/option' });
});

test('feeds what the network takes beside the tokens', async () => {
  const { rev, state, plan } = compileGpt({ sides: true });
  expect(plan.inputs.slice(0, 4)).toMatchObject([
    { role: 'images', name: 'ids', limit: VOCABULARY },
    { role: 'side', name: 'segments', dtype: 'int64', limit: 2 },
    { role: 'side', name: 'mask', dtype: 'bool' },
    { role: 'labels' },
  ]);
  expect(plan.chains).not.toEqual([]);
  expect((await verifyModel(rev, state.chains, state.settings)).failures).toEqual([]);
  const settings = { data: dir, lr: 0.01, threads: 1 };
  expect((await train(dir, { ...settings, data: 'random', steps: 2 })).losses).toHaveLength(2);

  // The tokens are the same in every sequence: which one comes next, only the segments tell.
  write('ids', npy('<i8', [COUNT, TOKENS], int64(Array<number>(COUNT * TOKENS).fill(4))));
  const segments = Array.from({ length: COUNT * TOKENS }, (_, i) => (i * i * 7 + (i >> 3)) % 2);
  const answers = segments.map((segment) => 3 + 5 * segment);
  write('labels', npy('<i8', [COUNT, TOKENS], int64(answers)));
  await expect(train(dir, { ...settings, steps: 1 })).rejects.toThrow(
    /also takes segments, int64 \[N, 6\], and there is no train-segments\.npy/,
  );
  write('segments', npy('<i8', [COUNT, TOKENS], int64(segments)));
  write('mask', npy('|b1', [COUNT, TOKENS], new Uint8Array(COUNT * TOKENS).fill(1)));
  const seen = await train(dir, { ...settings, steps: 40 });
  expect(seen.losses.at(-1)).toBeLessThan(0.2);
  expect(seen.evaluation?.accuracy).toBe(1);
  write('mask', npy('|b1', [COUNT, TOKENS], new Uint8Array(COUNT * TOKENS)));
  const masked = await train(dir, { ...settings, steps: 40 });
  expect(masked.losses.at(-1)).toBeGreaterThan(0.5);

  segments[20] = 2;
  write('segments', npy('<i8', [COUNT, TOKENS], int64(segments)));
  await expect(train(dir, { ...settings, steps: 1 })).rejects.toThrow(
    /sample 3 holds token 2[^]*table of 2 rows/,
  );
});
