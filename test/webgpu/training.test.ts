// Training on a GPU: every operator there, the state there from step to step, and the losses those of the CPU.

import { readFileSync } from 'node:fs';
import { describe, expect, test } from 'vitest';
import { visionTransformer } from '../../fixtures/transformers.js';
import { compile } from '../../src/compiler/index.js';
import type { Compiled } from '../../src/compiler/index.js';
import { decodeModel } from '../../src/onnx/index.js';
import { fixture } from '../cli/program.js';
import { Device } from './support.js';

const device = new Device();
const STEPS = 5;

const resNet20 = (): Compiled =>
  compile(decodeModel(readFileSync(fixture('resnet20.onnx'))), {
    ...{ name: 'resnet20', source: 'resnet20.onnx' },
    ...{ target: 'portable', batch: 2 },
  });

/** ViT-Ti/8 (Touvron et al. 2021, table 1) for images of 32×32: 17 tokens. */
const vitTiny = (): Compiled =>
  compile(
    visionTransformer({
      ...{ depth: 12, width: 192, heads: 3, patch: 8, image: 32 },
      ...{ classes: 10, seed: 4 },
    }),
    { name: 'vit', source: 'vit.onnx', target: 'portable', batch: 2, optimizer: 'adamw' },
  );

describe.each<[string, () => Compiled, number]>([
  ['ResNet-20, SGD', resNet20, 0.05],
  ['ViT-tiny, AdamW', vitTiny, 1e-4],
])('%s', (_, make, lr) => {
  test('trains as on the CPU, wholly on the GPU', async () => {
    const dir = device.write(make());
    const [cpu, gpu] = [
      await device.steps({ dir, device: 'cpu', steps: STEPS, lr }),
      await device.steps({ dir, device: 'webgpu', steps: STEPS, lr, profile: true }),
    ];
    expect(gpu.losses).toHaveLength(STEPS);
    gpu.losses.forEach((loss, i) =>
      expect(Math.abs(loss - (cpu.losses[i] ?? NaN))).toBeLessThan(1e-4),
    );
    // Something was learned: equal losses of a step that does nothing would say little.
    expect(Math.abs((gpu.losses.at(-1) ?? NaN) - (gpu.losses[0] ?? NaN))).toBeGreaterThan(0.05);
    expect(gpu.correct).toEqual(cpu.correct);
    expect(Math.abs(gpu.weightSum / cpu.weightSum - 1)).toBeLessThan(1e-5);

    expect(Object.keys(gpu.providers)).toEqual(['WebGpuExecutionProvider']);
    expect(gpu.providers.WebGpuExecutionProvider).toBeGreaterThan(500);

    // One call per step and none between them: the first uploads the state, the others find it on the GPU.
    expect(gpu.calls).toHaveLength(STEPS);
    gpu.calls.forEach(({ stateIn, stateOut, othersIn, othersOut }, i) => {
      expect(stateIn).toEqual([i === 0 ? 'cpu' : 'gpu-buffer']);
      expect(stateOut).toEqual(['gpu-buffer']);
      expect(othersIn).toEqual(['cpu']);
      // Loss and count.
      expect(othersOut).toEqual(['cpu']);
    });
    expect(gpu.downloads).toBeGreaterThan(1);
    for (const { stateIn } of cpu.calls) expect(stateIn).toEqual(['cpu']);
  });
});

test('a node that the GPU does not run is refused, by name', async () => {
  const compiled = resNet20();
  const node = [...compiled.train.graph.nodes].find(({ op }) => op === 'Exp');
  if (!node) throw new Error('the loss has no Exp');
  node.op = 'Hardmax';
  const dir = device.write(compiled);
  await expect(device.steps({ dir, device: 'webgpu', steps: 1, lr: 0.1 })).rejects.toThrow(
    new RegExp(`device/fallback[^]*Hardmax \\(node ${node.name}\\)`),
  );
});
