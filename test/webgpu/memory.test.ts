// Memory of the device, by depth. SwiftShader's device memory is memory of the process, in large blocks, so it can be
// counted from outside: see steps-child.ts.

import { beforeAll, describe, expect, test } from 'vitest';
import { reverseResults } from '../../bench/lib/depth.js';
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
function pointwise(depth: number, image = IMAGE): Model {
  const net = new Network(`pointwise${depth}`, { seed: 1 });
  let x = net.conv(net.images(image), 'conv1', WIDTH, 1);
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

interface Case extends Partial<Settings> {
  readonly depth: number;
  /** Default IMAGE. */
  readonly image?: number;
  /** The results in the file the other way round: only the token then makes the executor follow the schedule. */
  readonly reversed?: boolean;
}

/** Device memory that a step has taken. */
async function buffersOf({ depth, image, reversed = false, ...settings }: Case): Promise<number> {
  const compiled = compile(pointwise(depth, image), {
    ...{ name: 'net', source: 'net.onnx', target: 'portable', recipe: 'rewire', batch: BATCH },
    ...settings,
  });
  if (reversed) reverseResults(compiled.train);
  const dir = device.write(compiled);
  const report = await device.steps({ dir, device: 'webgpu', steps: 1, lr: 0.01, memory: true });
  return report.blockBytes;
}

/**
 * What activations take: above the same network on images so small that they take nothing. Weights, of which there are
 * as many as layers, are in both.
 */
const activationsOf = async (subject: Case): Promise<number> =>
  (await buffersOf(subject)) - (await buffersOf({ ...subject, image: 8 }));

describe('GPU buffers', () => {
  let shallow: number;
  let stored: readonly [number, number];
  beforeAll(async () => {
    shallow = await activationsOf({ depth: 20 });
    stored = [
      await buffersOf({ depth: 20, policy: 'store' }),
      await buffersOf({ depth: 56, policy: 'store' }),
    ];
    console.log(`stored: ${stored.join(', ')} bytes at depth 20, 56`);
  }, 900_000);

  test('grow with depth where everything is stored', () => {
    expect(stored[0]).toBeGreaterThan(1.5 * shallow);
    expect(stored[1]).toBeGreaterThan(1.8 * stored[0]);
  });

  // What is counted is resident pages of the driver's blocks of 4 MB, and differs by up to 5 MB from run to run, more than a
  // tenth of the whole: a pair may be measured three times.
  test.each([56, 110])(
    'of activations do not grow from depth 20 to %i',
    { retry: 2 },
    async (depth) => {
      const [first, bytes] = [await activationsOf({ depth: 20 }), await activationsOf({ depth })];
      console.log(`reversible: ${first} bytes at depth 20, ${bytes} at depth ${depth}`);
      expect(bytes).toBeLessThanOrEqual(1.1 * first);
    },
  );

  test('are kept small by the token, whatever the order of results', async () => {
    const [held, bare] = [
      await buffersOf({ depth: 56, reversed: true }),
      await buffersOf({ depth: 56, reversed: true, token: false }),
    ];
    console.log(`depth 56, results reversed: ${held} bytes, without token ${bare}`);
    expect(bare).toBeGreaterThan(2 * held);
  });
});
