// Plans through the command line: identical from identical inputs, shown as tables, completed by measurements.

import { createHash } from 'node:crypto';
import { copyFileSync, mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { HOOK_TIMEOUT, Program, fixture } from './program.js';

const program = new Program();
const resnet = fixture('resnet20.onnx');
let dir: string;
beforeAll(async () => {
  dir = join(program.folder, 'one');
  await program.json(resnet, '-o', dir, '--batch', '2', '--no-verify');
}, HOOK_TIMEOUT);

const digests = (at: string): Record<string, string> =>
  Object.fromEntries(
    readdirSync(at)
      .sort()
      .map((name) => [
        name,
        createHash('sha256')
          .update(readFileSync(join(at, name)))
          .digest('hex'),
      ]),
  );

test('identical inputs give identical files, whatever the folders and the way to say them', async () => {
  const elsewhere = join(program.folder, 'a folder', 'deep');
  mkdirSync(elsewhere, { recursive: true });
  copyFileSync(resnet, join(elsewhere, 'resnet20.onnx'));
  // The command runs in program.folder, so these are relative paths.
  await program.json(
    ...['a folder/deep/resnet20.onnx', '-o', 'a folder/../two', '--batch', '2', '--no-verify'],
  );
  const files = digests(dir);
  expect(Object.keys(files)).toEqual([
    'resnet20.plan.json',
    'resnet20.rev.onnx',
    'resnet20.train.onnx',
  ]);
  expect(digests(join(program.folder, 'two'))).toEqual(files);
});

test('inspect shows a plan and the folder it lies in', async () => {
  const { code, stdout } = await program.run('inspect', join(dir, 'resnet20.plan.json'));
  expect(code).toBe(0);
  for (const part of [
    /^resnet20, made from resnet20\.onnx$/m,
    /^ {2}recipe +\w+ \(partition/m,
    /^ {2}passes +\S*check-trainable,to-float32,/m,
    /^ {2}batch +2 × \[3, 32, 32\], 10 classes$/m,
    /^ +original, stored +coupled, stored +this plan$/m,
    /^ {2}stored activations +[\d.]+ [kM]B +[\d.]+ [kM]B +[\d.]+ [kM]B$/m,
    /^ {2}[\d.]+ % of the activations saved; peak at \S+$/m,
    /^ {2}not yet: revnetify train DIR --measure/m,
    /^chains: \d+$/m,
    /^residual blocks: 9, \d+ coupled, \d+ left$/m,
    /^ {2}stage1\.1 +coupling +reverse +[\d.]+ [kM]B +half-coupling: /m,
    /^ {2}one training step +\S+ MFLOP +\S+ MFLOP +× 1\.\d+$/m,
  ])
    expect(stdout).toMatch(part);
  // No terminal, no colours.
  expect(stdout).not.toContain('\u001b');
  expect((await program.run('inspect', dir)).stdout).toBe(stdout);
});

test('a measurement is kept in the plan, where inspect shows it beside the prediction', async () => {
  const at = join(program.folder, 'measured');
  mkdirSync(at);
  for (const name of readdirSync(dir)) copyFileSync(join(dir, name), join(at, name));
  const path = join(at, 'resnet20.plan.json');
  const before = readFileSync(path, 'utf8');
  const args = ['train', at, '--measure', '--steps', '1'];
  await program.json(...args, '--no-record');
  expect(readFileSync(path, 'utf8')).toBe(before);
  const result = (await program.json(...args, '--variant', 'here')) as {
    measured: { peakBytes: number };
  };
  const plan = JSON.parse(readFileSync(path, 'utf8')) as { measured: { peakBytes: number }[] };
  expect(plan.measured).toMatchObject([{ variant: 'here', peakBytes: result.measured.peakBytes }]);
  expect(`${JSON.stringify({ ...plan, measured: [] }, null, 2)}\n`).toBe(before);
  const { stdout } = await program.run('inspect', at);
  expect(stdout).toMatch(
    /^ {2}here +[\d.]+ [kM]B +[\d.]+ [kM]B +[+−][\d.]+ % +[\d.]+ s +\d+ thread/m,
  );
});

test('a damaged plan ends every command with the place of the damage', async () => {
  const at = join(program.folder, 'damaged');
  mkdirSync(at);
  for (const name of readdirSync(dir)) copyFileSync(join(dir, name), join(at, name));
  const path = join(at, 'resnet20.plan.json');
  writeFileSync(path, readFileSync(path, 'utf8').replace('"role": "labels"', '"role": "tables"'));
  for (const args of [
    ['inspect', path],
    ['verify', at],
    ['train', at, '--measure'],
  ]) {
    const { code, stderr } = await program.run(...args);
    expect(code).toBe(2);
    expect(stderr).toMatch(/inputs\[1\]\.role is "tables": it must be one of images, labels, /);
  }
});
