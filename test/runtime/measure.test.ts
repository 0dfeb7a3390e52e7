import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { samplingMeter, startPeakMeter } from '../../runtime/memory.js';
import { preResNet, resNetImageNet } from '../../fixtures/models.js';
import type * as Measure from '../../runtime/measure.js';
import { compile, writeFolder } from '../../src/compiler/index.js';
import { compileRuntime } from './compiled.js';
import { writeLargeStep, writeTinyStep } from './tiny-step.js';

const MB = 1e6;
let compiled: string;
let dir: string;
let measure: typeof Measure.measure;
beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), 'measure-'));
  compiled = compileRuntime();
  const url = pathToFileURL(join(compiled, 'runtime/measure.js')).href;
  ({ measure } = (await import(url)) as typeof Measure);
});
afterAll(() => {
  rmSync(compiled, { recursive: true });
  rmSync(dir, { recursive: true });
});

const folder = (): string => mkdtempSync(join(dir, 'case-'));

test.each([
  [200 * MB, 'system' as const],
  [200 * MB, 'pattern' as const],
  [400 * MB, 'pattern' as const],
])('an intermediate of %d bytes is seen (%s)', async (bytes, allocator) => {
  const at = folder();
  writeLargeStep(at, bytes);
  const options = { steps: 3, threads: 1, allocator, variant: 'large' };
  const { measured, losses } = await measure(at, options);
  expect(losses).toHaveLength(3);
  expect(measured.peakBytes).toBeGreaterThan(0.9 * bytes);
  expect(measured.peakBytes).toBeLessThan(1.1 * bytes);
  expect(measured.activationBytes).toBe(measured.peakBytes);
  expect(measured.variant).toBe('large');
});

test.each([
  ['preResNet', () => preResNet({ depth: 20, width: 16, seed: 1 }), 64],
  [
    'bottlenecks',
    () => resNetImageNet({ layers: [3, 3], block: 'bottleneck', width: 32, image: 96, seed: 1 }),
    16,
  ],
] as const)('%s takes what its plan says', async (name, make, batch) => {
  const at = folder();
  const compiled = compile(make(), { name, source: name, batch });
  expect(compiled.plan.memory.plan.allocator).toBe('pattern');
  writeFolder(compiled, at);
  const { measured } = await measure(at, { steps: 3, threads: 2 });
  const predicted = compiled.plan.memory.plan.peakBytes;
  expect(Math.abs(measured.peakBytes / predicted - 1)).toBeLessThan(0.15);
});

test('a small step takes little, and says on what it ran', async () => {
  const at = folder();
  writeTinyStep(at);
  const first = await measure(at, { steps: 5, threads: 1 });
  expect(first.measured.peakBytes).toBeLessThan(20 * MB);
  expect(first.secondsPerStep).toBeGreaterThan(0);
  expect(first.measured.secondsPerStep).toBe(first.secondsPerStep);
  expect(first.outputCopyBytes).toBe(0);
  expect(first.platform).toMatchObject({ threads: 1, node: process.version });
  expect(first.platform.onnxruntime).toMatch(/^\d+\.\d+/);
  expect((await measure(at, { steps: 5, threads: 1 })).losses).toEqual(first.losses);
  expect((await measure(at, { steps: 5, threads: 1, seed: 1 })).losses).not.toEqual(first.losses);
});

test('diagnostics come through', async () => {
  await expect(measure(folder())).rejects.toMatchObject({
    code: 'train/invalid',
    exitCode: 2,
    message: expect.stringMatching(
      /^train\/invalid: .*\n.*where:.*\n.*no \*\.plan\.json/,
    ) as string,
  });
  const at = folder();
  writeTinyStep(at);
  await expect(measure(at, { lr: 1e30, steps: 9 })).rejects.toMatchObject({
    code: 'train/diverged',
  });
  await expect(measure(at, { steps: 0 })).rejects.toMatchObject({ code: 'usage/option' });
});

test.each([
  ['usual', startPeakMeter],
  ['sampling', samplingMeter],
])('the %s meter sees memory that is already gone', async (_, start) => {
  const meter = await start();
  let block: Buffer | undefined = Buffer.alloc(150 * MB, 1);
  // Long enough for a sample; the thread is blocked, as it is by a step.
  const until = performance.now() + 60;
  while (performance.now() < until) block[0] = 2;
  block = undefined;
  const grown = (await meter.stop()) - meter.base;
  expect(grown).toBeGreaterThan(140 * MB);
  expect(grown).toBeLessThan(200 * MB);
});
