import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { END, endedByMarker, withEndMarker } from '../../runtime/end-marker.js';
import { createSession, createStepSession, loadRuntime } from '../../runtime/session.js';
import { readPlan } from '../../runtime/plan.js';
import { TrainingStep } from '../../runtime/step.js';
import { batchOf, writeTinyStep } from './tiny-step.js';

let dir: string;
let path: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'end-marker-'));
  path = join(dir, writeTinyStep(dir).model.train);
});
afterAll(() => rmSync(dir, { recursive: true }));

test('the marker is the first of the outputs, the rest of the model is as before', async () => {
  const plain = await createSession(path, { threads: 1 });
  const marked = await createStepSession(path, { threads: 1 });
  expect(marked.outputNames).toEqual([END, ...plain.outputNames]);
  expect(marked.inputNames).toEqual(plain.inputNames);
  const file = readFileSync(path);
  const bytes = withEndMarker(file);
  expect(Buffer.compare(bytes.subarray(bytes.length - file.length), file)).toBe(0);
  await plain.release();
  await marked.release();
});

test('a run that ends at the marker has written every prepared tensor, and says so in words we know', async () => {
  const { Tensor } = await loadRuntime();
  const { plan } = readPlan(dir);
  const session = await createStepSession(path, { threads: 1 });
  const { images, labels } = batchOf(0);
  const feeds: Record<string, InstanceType<typeof Tensor>> = {};
  const fetches: Record<string, InstanceType<typeof Tensor> | null> = { [END]: null };
  const prepared: Float32Array[] = [];
  for (const { name, role, shape, next } of plan.inputs) {
    const zeros = (): Float32Array => new Float32Array(shape.reduce((a, b) => a * b, 1));
    if (role === 'labels') feeds[name] = new Tensor('int64', labels, shape);
    else feeds[name] = new Tensor('float32', role === 'images' ? images : zeros().fill(0.1), shape);
    if (next === undefined) continue;
    const data = zeros().fill(NaN);
    prepared.push(data);
    fetches[next] = new Tensor('float32', data, shape);
  }
  const error: unknown = await session.run(feeds, fetches).catch((e: unknown) => e);
  expect(endedByMarker(error)).toBe(true);
  expect(prepared.length).toBeGreaterThan(0);
  for (const data of prepared) expect(data.every(Number.isFinite)).toBe(true);
  await session.release();
});

test('a step copies nothing', async () => {
  const { plan } = readPlan(dir);
  const step = await TrainingStep.open(dir, plan, { threads: 1 });
  const settings = { learningRate: 0.1, momentum: 0.9, weightDecay: 0 };
  const { loss, correct } = await step.run({ ...batchOf(0), ...settings });
  expect(Number.isFinite(loss)).toBe(true);
  expect(Number.isInteger(correct)).toBe(true);
  expect(step.copiedBytes).toBe(0);
  await step.dispose();
});

test('other errors stay errors', async () => {
  expect(endedByMarker(new Error('Non-zero status code returned'))).toBe(false);
  expect(endedByMarker(undefined)).toBe(false);
  const broken = join(dir, 'broken.onnx');
  writeFileSync(broken, 'no model');
  await expect(createStepSession(broken)).rejects.toMatchObject({ code: 'train/invalid' });
  await expect(createStepSession(join(dir, 'missing.onnx'))).rejects.toMatchObject({
    code: 'train/invalid',
  });
});
