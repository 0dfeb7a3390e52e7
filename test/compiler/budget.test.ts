// A budget of memory decides what is stored. Every step it chooses is as right as any other, fits, and can be built again.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { resNetImageNet } from '../../fixtures/models.js';
import { budget as parseBudget } from '../../src/cli/parse.js';
import { compile, loadCoupled, writeFolder } from '../../src/compiler/index.js';
import type { Budget, Compiled } from '../../src/compiler/index.js';
import { checkStep } from '../../src/compiler/folder.js';
import type { Plan } from '../../src/plan/index.js';
import { verifyModel } from '../../src/verify/index.js';

const compiled = (budget?: Budget): Compiled =>
  compile(resNetImageNet({ layers: [4, 4, 4], block: 'basic', width: 8, image: 64, seed: 3 }), {
    name: 'net',
    source: 'net.onnx',
    batch: 16,
    ...(budget === undefined ? {} : { budget }),
  });

/** What the plan says a training holds. */
const bytesOf = ({ inputs, memory }: Plan): number =>
  inputs.reduce(
    (sum, { shape, dtype }) => sum + shape.reduce((n, d) => n * d, dtype === 'int64' ? 8 : 4),
    memory.plan.peakBytes,
  );

const storedUnits = ({ units }: Plan): number =>
  units.filter(({ policy }) => policy === 'store').length;

const least = compiled().plan;

test('the more memory, the more is stored and the less computed; the plan stays within it', () => {
  const needed = bytesOf(least);
  const plans = [1.1, 1.4, 1.7, 10].map((factor) => {
    const bytes = Math.ceil(needed * factor);
    const { plan } = compiled(bytes);
    expect(bytesOf(plan)).toBeLessThanOrEqual(bytes);
    return plan;
  });
  const flops = [least, ...plans].map(({ cost }) => cost.stepFlopsAfter);
  expect(flops).toEqual([...flops].sort((a, b) => b - a));
  expect(new Set(flops).size).toBeGreaterThan(3);
  const all = plans.at(-1);
  expect(all && storedUnits(all)).toBe(all?.units.length);
});

test('free: more is stored, in hardly more memory', () => {
  const { plan } = compiled('free');
  expect(storedUnits(plan)).toBeGreaterThan(storedUnits(least));
  expect(bytesOf(plan)).toBeLessThanOrEqual(1.03 * bytesOf(least));
  expect(plan.assumptions.stored?.length).toBe(storedUnits(plan) - storedUnits(least));
  expect(least.assumptions.stored).toBeUndefined();
});

test('too little memory is an error that says how much it takes', () => {
  const needed = (bytesOf(least) / 1e6).toFixed(1);
  expect(() => compiled(1000)).toThrow(
    expect.objectContaining({
      code: 'memory/budget',
      why: `a training step takes at least ${needed} MB, the budget is 0.0 MB`,
    }),
  );
});

test('gradients are right, and the folder builds the same step again', async () => {
  const some = compiled(Math.ceil(bytesOf(least) * 1.5));
  const kinds = new Set(some.plan.units.map(({ policy }) => policy));
  expect(kinds).toEqual(new Set(['reverse', 'recompute', 'store']));
  const stored = some.plan.units.filter(({ policy }) => policy === 'store').map(({ id }) => id);
  // Between two that are reversed, so that streams are rebuilt on both sides of it.
  const inside = some.plan.units.findIndex(
    ({ kind, policy }, i, units) =>
      kind === 'coupling' && policy === 'store' && units[i + 1]?.policy !== 'store',
  );
  expect(stored.length).toBeGreaterThan(storedUnits(least));
  expect(inside).toBeGreaterThan(0);
  const verified = await verifyModel(some.rev, some.state.chains, some.state.settings);
  expect(verified.failures).toEqual([]);
  const dir = mkdtempSync(join(tmpdir(), 'budget-'));
  try {
    writeFolder(some, dir);
    const folder = loadCoupled(dir, some.plan);
    expect(folder.settings.stored).toEqual(some.plan.assumptions.stored);
    checkStep(dir, some.plan, folder);
    expect(() => {
      checkStep(dir, some.plan, { ...folder, settings: { ...folder.settings, stored: [] } });
    }).toThrow(expect.objectContaining({ code: 'train/invalid' }));
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}, 120_000);

test('amounts of memory as the command line takes them', () => {
  const parse = parseBudget('--budget');
  expect(['8GB', '500 MB', '1.5GiB', '1000', 'free'].map(parse)).toEqual([
    8e9,
    5e8,
    1.5 * 2 ** 30,
    1000,
    'free',
  ]);
  for (const wrong of ['', 'GB', '8 bytes', '-1GB', '0', '1.2.3GB', 'all'])
    expect(() => parse(wrong)).toThrow(expect.objectContaining({ code: 'usage/option' }));
});
