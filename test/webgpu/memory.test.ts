// Memory of the device, by depth. SwiftShader's device memory is memory of the process, in large blocks, so it can be
// counted from outside: see steps-child.ts.

import { beforeAll, describe, expect, test } from 'vitest';
import { Network } from '../../fixtures/network.js';
import type { Settings } from '../../passes/index.js';
import { compile } from '../../src/compiler/index.js';
import type { Model } from '../../src/ir/index.js';
import { Device } from './support.js';

const device = new Device();

/** Channels, image size, batch: a tensor of one block is 0.8 MB. */
const [WIDTH, IMAGE, BATCH] = [6, 64, 8];

/**
 * A pre-activation ResNet of `depth` layers in one stage. Its convolutions are 1×1 and narrow: a device made of software
 * is slow at products of matrices, and it is their results that count here.
 */
function pointwise(depth: number): Model {
  const net = new Network(`pointwise${depth}`, { seed: 1 });
  let x = net.conv(net.images(IMAGE), 'conv1', WIDTH, 1);
  for (let i = 0; i < (depth - 2) / 2; i++) {
    let y = x;
    for (const k of [1, 2]) {
      y = net.relu(net.batchNorm(y, `layer${i}.bn${k}`), `layer${i}.relu${k}`);
      y = net.conv(y, `layer${i}.conv${k}`, WIDTH, 1);
    }
    x = net.add(y, x, `layer${i}`);
  }
  return net.classify(net.relu(net.batchNorm(x, 'bn'), 'relu'), 'fc', 10);
}

async function buffersOf(depth: number, settings: Partial<Settings>): Promise<number> {
  const compiled = compile(pointwise(depth), {
    ...{ name: 'net', source: 'net.onnx', target: 'portable', recipe: 'rewire', batch: BATCH },
    ...settings,
  });
  const dir = device.write(compiled);
  const report = await device.steps({ dir, device: 'webgpu', steps: 2, lr: 0.01, memory: true });
  return report.blockBytes;
}

describe('GPU buffers', () => {
  let shallow: number;
  beforeAll(async () => {
    shallow = await buffersOf(20, { policy: 'reverse' });
  }, 900_000);

  test.each([56, 110])('of a reversible network do not grow from depth 20 to %i', async (depth) => {
    const bytes = await buffersOf(depth, { policy: 'reverse' });
    console.log(`reversible: ${shallow} bytes at depth 20, ${bytes} at depth ${depth}`);
    expect(Math.abs(bytes / shallow - 1)).toBeLessThan(0.1);
  });

  test('grow with depth where everything is stored', async () => {
    const stored = [
      await buffersOf(20, { policy: 'store' }),
      await buffersOf(56, { policy: 'store' }),
      await buffersOf(110, { policy: 'store' }),
    ] as const;
    console.log(`stored: ${stored.join(', ')} bytes at depth 20, 56, 110`);
    expect(stored[1]).toBeGreaterThan(1.5 * stored[0]);
    expect(stored[2]).toBeGreaterThan(1.5 * stored[1]);
    expect(stored[2]).toBeGreaterThan(4 * shallow);
  });

  test('grow with depth where recomputing does not wait', async () => {
    const bare = [
      await buffersOf(20, { policy: 'reverse', token: false }),
      await buffersOf(56, { policy: 'reverse', token: false }),
    ] as const;
    console.log(`without token: ${bare.join(', ')} bytes at depth 20, 56`);
    expect(bare[1]).toBeGreaterThan(1.3 * bare[0]);
    expect(bare[1]).toBeGreaterThan(1.5 * shallow);
  });
});
