// To PyTorch and back on the command line, without a Python: what is written, what is refused, and that weights come back
// as they were.

import {
  copyFileSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { writeTensors } from '../../runtime/safetensors.js';
import type { NamedTensor } from '../../runtime/safetensors.js';
import { openTensors } from '../../runtime/tensor-file.js';
import { readModel } from '../../src/onnx/index.js';
import { HOOK_TIMEOUT, Program, fixture } from './program.js';

const program = new Program();
const dir = (): string => join(program.folder, 'out');
const pkg = (): string => join(dir(), 'resnet20_torch');
const weights = (): string => join(pkg(), 'weights.safetensors');

beforeAll(async () => {
  await program.json(fixture('resnet20.onnx'), '-o', dir(), '--batch', '2', '--no-verify');
  await program.json('export', 'torch', dir());
}, HOOK_TIMEOUT);

/** The tensors of the package, to be changed. */
function tensors(): NamedTensor[] {
  const file = openTensors(weights());
  const all = [...file.entries].map(([name, { shape }]) => ({
    name,
    shape,
    data: file.floats(name),
  }));
  file.close();
  return all;
}

function saved(name: string, all: readonly NamedTensor[]): string {
  const path = join(program.folder, name);
  writeTensors(path, {}, all);
  return path;
}

describe('export torch', () => {
  test('writes a whole package and says so', async () => {
    const to = join(program.folder, 'elsewhere');
    const {
      path,
      className,
      tensors: count,
    } = (await program.json('export', 'torch', dir(), '-o', to)) as {
      path: string;
      className: string;
      tensors: number;
    };
    expect([path, className, count]).toEqual([join(to, 'resnet20_torch'), 'Resnet20', 110]);
    expect(readdirSync(path).sort()).toEqual(
      'README.md __init__.py data.py model.py plan.json reversible.py train.py weights.py weights.safetensors'.split(
        ' ',
      ),
    );
    expect(readdirSync(to)).toEqual(['resnet20_torch']);
    const text = readFileSync(join(path, 'model.py'), 'utf8');
    // One class for all residual functions, arguments where they differ.
    expect(text.match(/^class \w+/gm)).toEqual(
      ['Stem', 'Residual', 'Transition', 'Head', 'Resnet20'].map((c) => `class ${c}`),
    );
    expect(text).toContain('{str(i): Residual(16) for i in range(0, 3)}');
    expect(text.split('\n').filter((line) => line.length > 100)).toEqual([]);
  });

  test('does not replace a package unasked', async () => {
    writeFileSync(join(pkg(), 'model.py'), '# mine\n');
    const { code, stderr } = await program.run('export', 'torch', dir());
    expect([code, /usage\/output/.test(stderr), /--force/.test(stderr)]).toEqual([2, true, true]);
    expect(readFileSync(join(pkg(), 'model.py'), 'utf8')).toBe('# mine\n');
    await program.json('export', 'torch', dir(), '--force');
    expect(readFileSync(join(pkg(), 'model.py'), 'utf8')).toContain('class Resnet20');
  });

  test('refuses a folder without a plan, and leaves nothing behind', async () => {
    const empty = join(program.folder, 'empty');
    mkdirSync(empty);
    const { code, stderr } = await program.run('export', 'torch', empty);
    expect([code, /train\/invalid/.test(stderr)]).toEqual([2, true]);
    expect(readdirSync(empty)).toEqual([]);
  });

  test('refuses a model that is not the one of the plan', async () => {
    const other = join(program.folder, 'other');
    await program.json(fixture('resnet20-v1.onnx'), '-o', other, '--batch', '2', '--no-verify');
    rmSync(join(other, 'resnet20-v1.rev.onnx'));
    copyFileSync(join(dir(), 'resnet20.rev.onnx'), join(other, 'resnet20-v1.rev.onnx'));
    const { code, stderr } = await program.run('export', 'torch', other);
    expect([code, /train\/invalid/.test(stderr)]).toEqual([2, true]);
    expect(existsSync(join(other, 'resnet20_v1_torch'))).toBe(false);
  });
});

describe('import torch', () => {
  test('brings the weights of the package back as they were', async () => {
    const result = await program.json('import', 'torch', dir(), weights(), '-o', program.folder);
    expect(result).toEqual({
      path: join(program.folder, 'resnet20.trained.onnx'),
      weights: 68,
      statistics: 42,
    });
    const [rev, trained] = ['out/resnet20.rev.onnx', 'resnet20.trained.onnx'].map((name) =>
      readModel(join(program.folder, name)),
    );
    const constants = (model: typeof rev): Map<string, string> =>
      new Map(
        [...(model?.graph.constants ?? [])].map((v) => [
          v.name,
          Buffer.from(v.constant?.bytes() ?? []).toString('base64'),
        ]),
      );
    expect(constants(trained)).toEqual(constants(rev));
    expect(trained?.metadata.get('revnetify.running_statistics')).toBe('trained');
  });

  test('takes ONNX names, the names of wrappers, and what PyTorch counts beside them', async () => {
    const renamed = tensors().map((t) => ({
      ...t,
      name: `module.${t.name}`,
    }));
    const extra = {
      name: 'module.stage1.0.bn1.num_batches_tracked',
      shape: [1],
      data: new Float32Array(1),
    };
    await program.json(
      'import',
      'torch',
      dir(),
      saved('wrapped.safetensors', [...renamed, extra]),
      '-o',
      program.folder,
    );
    const onnx = tensors().map((t) => ({
      ...t,
      name: t.name.replace('stage2_0.conv1', 'stage2.0.conv1'),
    }));
    await program.json(
      'import',
      'torch',
      dir(),
      saved('onnx.safetensors', onnx),
      '-o',
      program.folder,
    );
  });

  const CASES: readonly (readonly [string, (all: NamedTensor[]) => NamedTensor[], RegExp])[] = [
    [
      'a tensor is missing',
      (all) => all.filter(({ name }) => name !== 'head.fc.bias'),
      /1 of 110 tensors are missing: head\.fc\.bias/,
    ],
    [
      'a tensor is foreign',
      (all) => [...all, { name: 'extra.weight', shape: [1], data: new Float32Array(1) }],
      /belong to no layer of this model: extra\.weight/,
    ],
    [
      'a shape differs',
      (all) => all.map((t) => (t.name === 'head.fc.weight' ? { ...t, shape: [128, 10] } : t)),
      /head\.fc\.weight is \[128, 10\], the model has \[10, 128\]/,
    ],
    [
      'a number is not finite',
      (all) => all.map((t) => (t.name === 'head.fc.bias' ? { ...t, data: t.data.fill(NaN) } : t)),
      /head\.fc\.bias holds numbers that are not finite/,
    ],
  ];
  test.each(CASES)('refuses a file in which %s', async (_, change, message) => {
    const to = join(program.folder, 'refused');
    const { code, stderr } = await program.run(
      'import',
      'torch',
      dir(),
      saved('changed.safetensors', change(tensors())),
      '-o',
      to,
    );
    expect(code).toBe(2);
    expect(stderr).toMatch(/import\/weights/);
    expect(stderr).toMatch(message);
    expect(existsSync(to)).toBe(false);
  });

  test('refuses numbers of another type, files that are cut off, and files of another kind', async () => {
    const bytes = readFileSync(weights());
    const double = join(program.folder, 'double.safetensors');
    const head = { 'head.fc.bias': { dtype: 'F64', shape: [10], data_offsets: [0, 80] } };
    const text = Buffer.from(JSON.stringify(head).padEnd(96));
    const length = Buffer.alloc(8);
    length.writeBigUInt64LE(96n);
    writeFileSync(double, Buffer.concat([length, text, Buffer.alloc(80)]));
    const cut = join(program.folder, 'cut.safetensors');
    writeFileSync(cut, bytes.subarray(0, bytes.length - 4));
    const messages = [
      [double, /109 of 110 tensors are missing/],
      [cut, /the file is cut off/],
      [join(dir(), 'resnet20.plan.json'), /no safetensors file/],
      [join(program.folder, 'nowhere'), /ENOENT/],
    ] as const;
    for (const [path, message] of messages) {
      const { code, stderr } = await program.run('import', 'torch', dir(), path);
      expect([path, code, message.test(stderr)]).toEqual([path, 2, true]);
    }
  });
});
