import {
  copyFileSync,
  existsSync,
  mkdtempSync,
  readFileSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { readPlan } from '../../runtime/plan.js';
import { loadRuntime } from '../../runtime/session.js';
import { TrainingStep } from '../../runtime/step.js';
import type { Plan } from '../../src/plan/index.js';
import { DiagnosticError } from '../../src/diagnostics/index.js';
import { batchOf, initialWeights, referenceLosses, writeTinyStep } from './tiny-step.js';

const SGD = { learningRate: 0.3, momentum: 0.9, weightDecay: 0.05 };
const batches = Array.from({ length: 12 }, (_, i) => batchOf(i));

let dir: string;
let plan: Plan;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'step-'));
  plan = writeTinyStep(dir);
});
afterAll(() => rmSync(dir, { recursive: true }));

interface Run {
  losses: number[];
  weights: number[];
  velocity: number[];
  mean: number[];
}

async function run(inPlace: boolean, of: Plan = plan): Promise<Run> {
  const step = await TrainingStep.open(dir, of, { threads: 1, inPlace });
  const losses: number[] = [];
  for (const batch of batches) losses.push((await step.run({ ...batch, ...SGD })).loss);
  const copy = (values: Float32Array | undefined): number[] => [...(values ?? [])];
  const result = {
    losses,
    weights: copy(step.weights().get('W')),
    velocity: copy(step.state('W.velocity')),
    mean: copy(step.statistics().get('mean')),
  };
  await step.dispose();
  return result;
}

describe('a training step', () => {
  test('computes the same training as plain JavaScript', async () => {
    const { losses, weights, mean } = await run(true);
    const reference = referenceLosses(batches, SGD);
    const worst = (a: number[], b: number[]): number =>
      Math.max(...a.map((value, i) => Math.abs(value - (b[i] ?? NaN))));
    expect(worst(losses, reference.losses)).toBeLessThan(1e-5);
    expect(worst(weights, reference.weights)).toBeLessThan(1e-5);
    expect(worst(mean, reference.mean)).toBeLessThan(1e-5);
    // The comparison can fail: without momentum or weight decay it is far off.
    for (const change of [{ momentum: 0 }, { weightDecay: 0 }])
      expect(worst(losses, referenceLosses(batches, { ...SGD, ...change }).losses)).toBeGreaterThan(
        1e-3,
      );
  });

  test('in place and double-buffered agree bit for bit', async () => {
    const inPlace = await run(true);
    expect(await run(false)).toEqual(inPlace);
    // A plan may allow it for some inputs only; also an odd number of swaps must be read back right.
    const mixed = plan.inputs.map((i) => (i.name === 'W' ? { ...i, inPlace: false } : i));
    expect(await run(true, { ...plan, inputs: mixed })).toEqual(inPlace);
  });

  test('counts correct answers and steps', async () => {
    const step = await TrainingStep.open(dir, plan, { threads: 1 });
    const correct: number[] = [];
    for (const batch of batches) correct.push((await step.run({ ...batch, ...SGD })).correct);
    expect(correct).toEqual(referenceLosses(batches, SGD).correct);
    expect(new Set(correct).size).toBeGreaterThan(1);
    expect(step.steps).toBe(batches.length);
    await step.dispose();
  });

  test('a loss that is not finite names the step', async () => {
    const step = await TrainingStep.open(dir, plan, { threads: 1 });
    await step.run({ ...batchOf(0), ...SGD });
    await step.run({ ...batchOf(1), ...SGD, learningRate: Infinity });
    const third = step.run({ ...batchOf(2), ...SGD });
    await expect(third).rejects.toMatchObject({ code: 'train/diverged', where: 'step 3' });
    await step.dispose();
  });

  test('a batch of the wrong size is refused', async () => {
    const step = await TrainingStep.open(dir, plan, { threads: 1 });
    const short = { ...batchOf(0), images: new Float32Array(7) };
    await expect(step.run({ ...short, ...SGD })).rejects.toThrow();
    await step.dispose();
  });

  test('starts from the weights of rev.onnx and leaves them there', async () => {
    const before = readFileSync(join(dir, plan.model.rev));
    const step = await TrainingStep.open(dir, plan, { threads: 1 });
    expect(step.weights().get('W')).toEqual(initialWeights());
    await step.run({ ...batchOf(0), ...SGD });
    expect(step.weights().get('W')).not.toEqual(initialWeights());
    await step.dispose();
    expect(readFileSync(join(dir, plan.model.rev)).equals(before)).toBe(true);
  });
});

describe('what cannot be used', () => {
  const folder = (fill: (at: string) => void): string => {
    const at = mkdtempSync(join(dir, 'bad-'));
    fill(at);
    return at;
  };
  const copy = (at: string, ...names: string[]): void =>
    names.forEach((name) => copyFileSync(join(dir, name), join(at, name)));
  const ALL = ['tiny.plan.json', 'tiny.train.onnx', 'tiny.rev.onnx'];
  const changed = (at: string, change: (plan: Plan) => unknown): void => {
    copy(at, ...ALL);
    writeFileSync(join(at, 'tiny.plan.json'), JSON.stringify(change(plan)));
  };

  test.each<[string, (at: string) => void, RegExp]>([
    ['no folder', (at) => rmSync(at, { recursive: true }), /no such file/],
    ['no plan', (at) => copy(at, 'tiny.train.onnx'), /no \*\.plan\.json/],
    [
      'two plans',
      (at) => {
        copy(at, ...ALL);
        writeFileSync(join(at, 'other.plan.json'), '{}');
      },
      /several plans: other\.plan\.json, tiny\.plan\.json/,
    ],
    ['no JSON', (at) => writeFileSync(join(at, 'a.plan.json'), '{'), /cannot be read/],
    ['null', (at) => writeFileSync(join(at, 'a.plan.json'), 'null'), /schemaVersion is missing/],
    ['another version', (at) => changed(at, (p) => ({ ...p, schemaVersion: 99 })), /is 99/],
    ['no inputs', (at) => changed(at, (p) => ({ ...p, inputs: undefined })), /inputs is missing/],
    [
      'no labels',
      (at) => changed(at, (p) => ({ ...p, inputs: p.inputs.filter((i) => i.role !== 'labels') })),
      /0 inputs with the role labels/,
    ],
    ['no train.onnx', (at) => copy(at, ALL[0] ?? '', ALL[2] ?? ''), /names tiny\.train\.onnx/],
    ['no rev.onnx', (at) => copy(at, ALL[0] ?? '', ALL[1] ?? ''), /names tiny\.rev\.onnx/],
  ])('a folder with %s', (_, fill, message) => {
    const at = folder(fill);
    expect(() => readPlan(at)).toThrow(DiagnosticError);
    expect(() => readPlan(at)).toThrow(message);
    expect(() => readPlan(at)).toThrow(/^train\/invalid/);
  });

  test('a weight that rev.onnx does not have, or not in that shape', async () => {
    const rename = (change: object): Plan => ({
      ...plan,
      inputs: plan.inputs.map((i) => (i.name === 'W' ? { ...i, ...change } : i)),
    });
    await expect(TrainingStep.open(dir, rename({ name: 'V' }))).rejects.toThrow(/no weight V/);
    await expect(TrainingStep.open(dir, rename({ shape: [1] }))).rejects.toThrow(/the plan says/);
  });

  test('a step graph that is no model', async () => {
    const at = folder((a) => {
      copy(a, ...ALL);
      writeFileSync(join(a, 'tiny.train.onnx'), 'nonsense');
    });
    expect(existsSync(join(at, 'tiny.train.onnx'))).toBe(true);
    await expect(TrainingStep.open(at, readPlan(at).plan)).rejects.toMatchObject({
      code: 'train/invalid',
    });
  });

  test('a missing onnxruntime-node', async () => {
    const load = (): Promise<never> => Promise.reject(new Error('Cannot find module'));
    await expect(loadRuntime(load)).rejects.toMatchObject({
      code: 'runtime/missing',
      exitCode: 7,
    });
  });
});
