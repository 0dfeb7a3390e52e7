// Scalars beside weights whose last extents are 1: ONNX Runtime is slow where the ranks differ.

import { describe, expect, test } from 'vitest';
import { resNetImageNet } from '../../fixtures/models.js';
import { compile } from '../../src/compiler/index.js';

const bottleneck = (): ReturnType<typeof resNetImageNet> =>
  resNetImageNet({ layers: [3, 2], block: 'bottleneck', image: 32, classes: 3, seed: 1 });

describe('an update combines a 1×1 filter with scalars of its own rank', () => {
  test.each([
    { optimizer: 'sgd', accumulate: 1, clipNorm: 0 },
    { optimizer: 'adamw', accumulate: 2, clipNorm: 1 },
  ] as const)('$optimizer, $accumulate batches', (settings) => {
    const { train } = compile(bottleneck(), {
      ...{ name: 'net', source: 'net.onnx', batch: 2 },
      ...settings,
    });
    const mixed = [...train.graph.nodes].flatMap((node) => {
      const shapes = node.inputs.map((value) => value?.shape ?? []);
      const filter = shapes.find((shape) => shape.length === 4 && shape[3] === 1);
      const isUpdate = node.phase === 'update' && ['Mul', 'Add'].includes(node.op);
      return filter && isUpdate ? [{ name: node.name, ranks: shapes.map((s) => s.length) }] : [];
    });
    expect(mixed.length).toBeGreaterThan(20);
    expect(mixed.filter(({ ranks }) => ranks.some((rank) => rank !== 4))).toEqual([]);
  });
});
