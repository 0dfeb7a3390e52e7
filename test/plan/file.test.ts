// Plan files: what is written is what is read, and a measurement changes nothing else.

import { mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { compile } from '../../src/compiler/index.js';
import { readModel } from '../../src/onnx/index.js';
import { formatPlan, readPlanFile, recordMeasurement } from '../../src/plan/index.js';
import type { PlanMeasurement } from '../../src/plan/index.js';

const fixture = new URL('../../fixtures/resnet20.onnx', import.meta.url).pathname;
let dir: string;
let path: string;
let text: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'plan-'));
  path = join(dir, 'a.plan.json');
  const model = readModel(fixture);
  text = formatPlan(compile(model, { name: 'a', source: `${dir}/a.onnx`, batch: 2 }).plan);
  writeFileSync(path, text);
});
afterAll(() => {
  rmSync(dir, { recursive: true });
});

const measured = (variant: string, peakBytes: number): PlanMeasurement => ({
  variant,
  peakBytes,
  activationBytes: peakBytes,
  secondsPerStep: 0.1 + 0.2,
  threads: 2,
  machine: 'test',
});

test('a plan survives reading and writing byte for byte', () => {
  expect(formatPlan(readPlanFile(path))).toBe(text);
});

test('a plan does not tell where its model lay', () => {
  expect(text).not.toContain(dir);
  expect(readPlanFile(path).model.source).toBe('a.onnx');
});

test('measurements are kept, one per variant, and nothing else changes', () => {
  recordMeasurement(path, measured('plan', 1));
  recordMeasurement(path, measured('one thread', 2));
  recordMeasurement(path, measured('plan', 3));
  const plan = readPlanFile(path);
  expect(plan.measured).toEqual([measured('one thread', 2), measured('plan', 3)]);
  expect(formatPlan({ ...plan, measured: [] })).toBe(text);
  expect(readdirSync(dir)).toEqual(['a.plan.json']);
});

test('a damaged plan is left alone, with the place of the damage', () => {
  const bad = text.replace('"batch": 2', '"batch": "two"');
  writeFileSync(path, bad);
  expect(() => {
    recordMeasurement(path, measured('plan', 1));
  }).toThrow(/^plan\/invalid[^]*a\.plan\.json[^]*assumptions\.batch is "two": it must be integer/);
  expect(readFileSync(path, 'utf8')).toBe(bad);
  writeFileSync(path, text.slice(0, 100));
  expect(() => readPlanFile(path)).toThrow(/^plan\/invalid[^]*it cannot be read: /);
});
