// ONNX Runtime never gives back a result that nobody reads (memory/executor.ts): a step makes none that is large.

import { expect, test } from 'vitest';
import { preResNet, resNetImageNet } from '../../fixtures/models.js';
import { visionTransformer } from '../../fixtures/transformers.js';
import type { Settings } from '../../passes/index.js';
import { compile } from '../../src/compiler/index.js';
import { byteSize } from '../../src/ir/index.js';
import type { Model } from '../../src/ir/index.js';
import { aliased } from '../../src/memory/index.js';

const LARGE = 16e3;

const unread = (model: Model, settings: Partial<Settings>): string[] => {
  const { train } = compile(model, { name: 'net', source: 'net.onnx', batch: 8, ...settings });
  const results = new Set(train.graph.outputs);
  return [...train.graph.nodes].flatMap((node) =>
    node.outputs.flatMap((value, index) =>
      value &&
      !value.isUsed &&
      !results.has(value) &&
      !aliased(node, index) &&
      (value.type ? (byteSize(value.type) ?? 0) : 0) >= LARGE
        ? [value.name]
        : [],
    ),
  );
};

const maxPool = (): Model =>
  resNetImageNet({ layers: [2, 2], block: 'basic', width: 16, image: 64, seed: 1 });

test.each<[string, () => Model, Partial<Settings>]>([
  ['max pool, reversed', maxPool, {}],
  ['max pool, checkpointed', maxPool, { recipe: 'none', policy: 'recompute' }],
  ['max pool, stored', maxPool, { recipe: 'none', policy: 'store' }],
  ['pre-activation', () => preResNet({ depth: 20 }), {}],
  [
    'transformer',
    () => visionTransformer({ depth: 4, width: 64, heads: 2, patch: 4, image: 32 }),
    {},
  ],
])('%s', (_, make, settings) => {
  expect(unread(make(), settings)).toEqual([]);
});
