// Models beyond 2 GiB: they are converted by copying ranges of files, so memory stays small whatever their size, and
// every byte of every weight arrives. Needs some 7 GB of free disk for a minute or two.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, statSync, statfsSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { Program, finished } from '../cli/program.js';
import { bytesOf, differingWeights, writeExternal, writeInline } from './big-model.js';
import type { BigModel } from './big-model.js';

const MB = 1e6;
const MAX_EXTRA = 500 * MB;
const program = new Program();

let folder: string;
beforeAll(() => {
  folder = mkdtempSync(join(tmpdir(), 'large-'));
});
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

function expectSpace(bytes: number): void {
  const { bavail, bsize } = statfsSync(folder);
  expect(bavail * bsize, `bytes free in ${folder} (TMPDIR chooses another place)`).toBeGreaterThan(
    bytes,
  );
}

/** Writes the peak of the resident memory of a process, in bytes, to the file named in PEAK_FILE when it ends. */
const METER = `
  import { readFileSync, writeFileSync } from 'node:fs';
  process.on('exit', () => {
    let peak = process.resourceUsage().maxRSS;
    // getrusage counts what the parent had before exec; the kernel's own mark of this process does not.
    try { peak = Number(/VmHWM:\\s*(\\d+)/.exec(readFileSync('/proc/self/status', 'utf8'))[1]); } catch {}
    writeFileSync(process.env.PEAK_FILE, String(peak * 1024));
  });`;

/** Runs something with the meter on: its exit code, what it said, and the peak of its memory. */
async function metered(
  start: () => ReturnType<Program['start']>,
): Promise<{ code: number | null; stderr: string; peak: number }> {
  const file = join(folder, 'peak');
  process.env['PEAK_FILE'] = file;
  process.env['NODE_OPTIONS'] = `--import data:text/javascript,${encodeURIComponent(METER)}`;
  try {
    const { code, stderr } = await finished(start());
    return { code, stderr, peak: Number(readFileSync(file, 'utf8')) };
  } finally {
    delete process.env['NODE_OPTIONS'];
  }
}

async function converts(
  model: BigModel,
  write: (model: BigModel, folder: string) => string,
): Promise<void> {
  const dir = mkdtempSync(join(folder, 'model-'));
  try {
    const path = write(model, dir);
    const out = join(dir, 'out');
    const bare = await metered(() => spawn(process.execPath, ['-e', '']));
    const args = [path, '-o', out, '--batch', '2', '--no-verify', '--quiet'];
    const { code, stderr, peak } = await metered(() => program.start(...args));
    expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
    expect(differingWeights(model, join(out, 'model.rev.onnx'))).toEqual([]);
    expect(statSync(join(out, 'model.rev.onnx')).size).toBeLessThan(MB);
    expect(statSync(join(out, 'model.train.onnx')).size).toBeLessThan(10 * MB);
    console.log(
      `${(bytesOf(model) / 1e9).toFixed(2)} GB of ${model.precision}: peak ${(peak / MB).toFixed(0)} MB, Node alone ${(bare.peak / MB).toFixed(0)} MB`,
    );
    expect(peak - bare.peak).toBeLessThan(MAX_EXTRA);
  } finally {
    rmSync(dir, { recursive: true });
  }
}

test('3 GB with external data', async () => {
  expectSpace(7e9);
  await converts({ precision: 'float32', blocks: 20 }, writeExternal);
});

test('1.4 GB of float16 in one file, 2.7 GB in float32', async () => {
  expectSpace(5e9);
  await converts({ precision: 'float16', blocks: 18 }, writeInline);
});
