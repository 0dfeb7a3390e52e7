// Devices, on a machine that has none but the CPU: what is refused, and what doctor says.

import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, expect, test } from 'vitest';
import { probeBlock } from '../../runtime/index.js';
import type { DoctorReport } from '../../runtime/index.js';
import type { Plan } from '../../src/plan/index.js';
import { HOOK_TIMEOUT, Program, fixture } from './program.js';

const program = new Program();
/** Whatever graphics this machine has, Vulkan finds none of it. */
const NO_GPU = { VK_ICD_FILENAMES: '/nonexistent.json', VK_DRIVER_FILES: '/nonexistent.json' };
let cpu: string;
let portable: string;
beforeAll(async () => {
  const common = ['--batch', '2', '--no-verify'];
  cpu = join(program.folder, 'cpu');
  portable = join(program.folder, 'portable');
  await program.json(fixture('resnet20.onnx'), '-o', cpu, ...common);
  await program.json(fixture('resnet20.onnx'), '-o', portable, '--target', 'portable', ...common);
}, HOOK_TIMEOUT);

interface Failure {
  readonly error: { readonly code: string; readonly why: string; readonly hint: string };
}

async function failure(code: number, ...args: string[]): Promise<Failure['error']> {
  const ran = await program.run(...args, '--json', NO_GPU);
  expect(ran).toMatchObject({ code });
  return (JSON.parse(ran.stdout) as Failure).error;
}

const random = ['--data', 'random', '--steps', '1'];

test('without an adapter training and verifying say so, and what to do', async () => {
  for (const args of [
    ['train', portable, ...random],
    ['verify', portable],
    ['train', portable, '--measure'],
  ]) {
    const error = await failure(7, ...args, '--device', 'webgpu');
    expect(error.code).toBe('device/unavailable');
    expect(error.why).toMatch(/no WebGPU adapter/);
    expect(error.hint).toMatch(/driver.*revnetify doctor/);
  }
  expect(existsSync(join(portable, 'resnet20.trained.onnx'))).toBe(false);
});

test('without its libraries CUDA is refused with the way to them', async () => {
  const error = await failure(7, 'train', portable, ...random, '--device', 'cuda');
  expect(error.code).toBe('device/unavailable');
  expect(error.hint).toMatch(/ONNXRUNTIME_NODE_INSTALL=cuda12|Linux x64 only/);
});

test.each(['webgpu', 'cuda'])('a step for the CPU is refused on %s', async (device) => {
  for (const args of [
    ['train', cpu, ...random],
    ['verify', cpu],
  ]) {
    const error = await failure(2, ...args, '--device', device);
    expect(error).toMatchObject({ code: 'device/target' });
    expect(error.hint).toContain('--target portable');
  }
});

test('--target auto and cpu-blocked use the kernels of this CPU; another block size is refused', async () => {
  const blocked = join(program.folder, 'blocked');
  const common = ['--batch', '8', '--force'];
  const size = await probeBlock();
  for (const target of ['auto', 'cpu-blocked']) {
    await program.json(fixture('resnet20.onnx'), '-o', blocked, '--target', target, ...common);
    const plan = join(blocked, 'resnet20.plan.json');
    const { assumptions, model } = JSON.parse(readFileSync(plan, 'utf8')) as Plan;
    expect(assumptions).toMatchObject({ target: 'cpu', block: size });
    expect(model.depth).toEqual({ before: 20, after: 20 });
  }
  const shown = await program.run('inspect', blocked);
  expect(shown.stdout).toContain(`cpu-blocked (blocks of ${size ?? '?'})`);
  await program.json('verify', blocked);
  await program.json('train', blocked, ...random);

  const path = join(blocked, 'resnet20.plan.json');
  const other = size === 8 ? 16 : 8;
  const text = readFileSync(path, 'utf8');
  const changed = text.replace(`"block": ${size ?? '?'}`, `"block": ${other}`);
  expect(changed).not.toBe(text);
  writeFileSync(path, changed);
  for (const args of [
    ['train', blocked, ...random],
    ['verify', blocked],
  ]) {
    const error = await failure(2, ...args);
    expect(error).toMatchObject({ code: 'device/blocked' });
    expect(error.hint).toContain('--target cpu');
  }
});

test('an unknown device is refused', async () => {
  const { code, stderr } = await program.run('train', cpu, ...random, '--device', 'tpu');
  expect(code).toBe(2);
  expect(stderr).toContain('cpu, webgpu, cuda');
});

test('doctor: the CPU works, a GPU that is not there does not', async () => {
  const { code, stdout } = await program.run('doctor', '--json', NO_GPU);
  const report = JSON.parse(stdout) as DoctorReport;
  expect(code).toBe(0);
  expect(report.node).toBe(process.versions.node);
  expect(report.onnxruntime).toMatch(/^\d+\.\d+/);
  const block = await probeBlock();
  expect(report.processor.block).toBe(block ?? null);
  const [first, webgpu, cuda] = report.devices;
  expect(first).toMatchObject({ device: 'cpu', works: true });
  expect(webgpu).toMatchObject({ device: 'webgpu', works: false });
  expect(webgpu?.why).toMatch(/Vulkan loader/);
  expect(webgpu?.get).toMatch(/driver/);
  expect(cuda).toMatchObject({ device: 'cuda', works: false });
  expect(cuda?.why).toMatch(/CUDA libraries are not installed|no such provider/);

  const shown = await program.run('doctor', NO_GPU);
  expect(shown.stdout).toMatch(/--device cpu {5}works/);
  expect(shown.stdout).toMatch(
    block === undefined ? /blocked kernels +none/ : `blocks of ${block} channels`,
  );
  expect(shown.stdout).toMatch(/--device webgpu {2}does not work\n {2}why: .*\n {2}do: {2}/);
});

test('doctor without onnxruntime-node says that, and fails', async () => {
  const path = join(program.folder, 'before.mjs');
  const hook = `export function resolve(specifier, context, next) {
    if (specifier === 'onnxruntime-node') throw new Error("Cannot find package 'onnxruntime-node'");
    return next(specifier, context);
  }`;
  writeFileSync(
    path,
    `import { register } from 'node:module';
     register(${JSON.stringify(`data:text/javascript,${encodeURIComponent(hook)}`)});`,
  );
  const { code, stdout } = await program.run('doctor', '--json', {
    NODE_OPTIONS: `--import=file://${path}`,
  });
  expect(code).toBe(7);
  const { onnxruntime, devices } = JSON.parse(stdout) as DoctorReport;
  expect(onnxruntime).toBe(null);
  for (const { works, why, get } of devices)
    expect({ works, why, get }).toMatchObject({
      works: false,
      why: expect.stringContaining('Cannot find package') as string,
      get: 'npm install onnxruntime-node',
    });
});

test('export ts writes a module, once', async () => {
  const result = await program.json('export', 'ts', cpu);
  const path = join(cpu, 'resnet20.training.ts');
  expect(result).toMatchObject({ path, className: 'Resnet20Training' });
  expect(readFileSync(path, 'utf8')).toContain('export class Resnet20Training');
  const { code, stderr } = await program.run('export', 'ts', cpu);
  expect(code).toBe(2);
  expect(stderr).toMatch(/usage\/output[^]*--force/);
  expect((await program.run('export', 'ts', cpu, '--force')).code).toBe(0);
  expect((await program.run('export', 'ts', program.folder)).stderr).toContain('train/invalid');
  expect((await program.run('export', 'ts')).code).toBe(2);
});
