// The command line where there is a GPU.

import { expect, test } from 'vitest';
import { visionTransformer } from '../../fixtures/transformers.js';
import type { DoctorReport } from '../../runtime/index.js';
import type { TrainResult } from '../../runtime/index.js';
import { compile } from '../../src/compiler/index.js';
import type { VerifyResult } from '../../src/verify/index.js';
import { Device } from './support.js';

const device = new Device();

const small = (): string =>
  device.write(
    compile(
      visionTransformer({ depth: 2, width: 8, heads: 2, patch: 4, image: 8, classes: 3, seed: 4 }),
      { name: 'net', source: 'net.onnx', target: 'portable', recipe: 'rewire', batch: 4 },
    ),
  );

/** Runs a command that must succeed, with --json. */
async function json(...args: string[]): Promise<unknown> {
  const { code, stdout, stderr } = await device.cli(...args, '--json');
  expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}

test('doctor finds it, and says what it is', async () => {
  const { devices } = (await json('doctor')) as DoctorReport;
  const webgpu = devices.find((d) => d.device === 'webgpu');
  expect(webgpu).toEqual({ device: 'webgpu', works: true, name: 'SwiftShader Device (Subzero)' });
  expect(devices.find((d) => d.device === 'cpu')?.works).toBe(true);
});

test('train writes a model and checkpoints that go on, there or on the CPU', async () => {
  const dir = small();
  const common = ['train', dir, '--data', 'random', '--no-evaluate', '--checkpoint-every', '2'];
  const first = (await json(...common, '--steps', '2', '--device', 'webgpu')) as TrainResult;
  expect(first.deviceMemory).toMatchObject({ device: 'webgpu', source: 'estimate' });
  expect(first.deviceMemory?.bytes).toBeGreaterThan(1000);
  expect(first.model).toMatch(/net\.trained\.onnx$/);
  const { code, stderr } = await device.cli('train', dir, '--data', 'random', '--steps', '2');
  expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
  const again = await device.cli(...common, '--steps', '2', '--resume');
  expect(again.stderr).toContain('the checkpoint was made on webgpu, now cpu');
  expect(again.code).toBe(0);
});

test('verify compares what the GPU computes with what the CPU does', async () => {
  const result = (await json('verify', small(), '--device', 'webgpu')) as VerifyResult;
  expect(result.failures).toEqual([]);
  // Two ways of computing differ in some bits; none at all would be one and the same.
  expect(result.gradient.relL2).toBeGreaterThan(0);
});

test('measure runs there, and does not mistake the process for the GPU', async () => {
  const dir = small();
  const args = ['train', dir, '--measure', '--steps', '2', '--device', 'webgpu'];
  const result = (await json(...args)) as { losses: readonly number[]; predicted: unknown };
  expect(result.losses).toHaveLength(2);
  expect(await json('inspect', dir)).toMatchObject({ measured: [] });
});
