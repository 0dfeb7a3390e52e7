// Our step against PyTorch, in float64: the coupled network written by hand in PyTorch and differentiated by its
// autograd, from the original file's weights.

import { describe, expect, test } from 'vitest';
import { preResNet, resNetImageNet, resNetV1 } from '../../fixtures/models.js';
import type { Settings } from '../../passes/index.js';
import type { BlockSize, Model } from '../../src/ir/index.js';
import { constantsByName, maxDistance } from '../../src/verify/index.js';
import { build, couple, evaluate } from '../autodiff/support.js';
import { batchOf, worstTensor } from './distance.js';
import { coupledReference, saveModel, withFolder } from './python.js';
import type { Family } from './python.js';

const LIMIT = 1e-9;
const common = { classes: 3, norm: 'random' } as const;

const NETWORKS: readonly {
  readonly name: string;
  readonly make: () => Model;
  readonly family: Family;
}[] = [
  {
    name: 'pre-activation basic',
    make: () => preResNet({ ...common, depth: 20, width: 2, image: 32, seed: 31 }),
    family: { family: 'preact', params: { layers: [3, 3, 3] } },
  },
  {
    name: 'pre-activation bottleneck',
    make: () =>
      preResNet({ ...common, depth: 29, block: 'bottleneck', width: 2, image: 16, seed: 32 }),
    family: { family: 'preact', params: { layers: [3, 3, 3], block: 'bottleneck' } },
  },
  ...(['A', 'B'] as const).map((shortcut, i) => ({
    name: `v1 option ${shortcut}`,
    make: () => resNetV1({ ...common, depth: 26, shortcut, width: 2, image: 16, seed: 33 + i }),
    family: { family: 'cifar-v1', params: { layers: [4, 4, 4], shortcut } } as const,
  })),
  {
    name: 'v1 bottleneck behind a max pool',
    make: () =>
      resNetImageNet({
        ...common,
        layers: [2, 3, 3],
        block: 'bottleneck',
        // Halved it must keep two channels: batch norm of one is too badly conditioned for the limit.
        width: 4,
        image: 32,
        seed: 35,
      }),
    family: { family: 'imagenet', params: { layers: [2, 3, 3], block: 'bottleneck' } },
  },
];

const FORMS = [
  { recipe: 'rewire', partition: 'widen', target: 'cpu' },
  { recipe: 'rewire', partition: 'widen', target: 'portable' },
  { recipe: 'rewire', partition: 'split', target: 'cpu' },
  { recipe: 'paper', partition: 'widen', target: 'cpu' },
  { recipe: 'paper', partition: 'split', target: 'cpu' },
  { recipe: 'paper', partition: 'split', target: 'portable' },
] as const;

/** Wide enough for blocks of channels, and a batch that is a multiple of them. */
const WIDE: typeof NETWORKS = [
  {
    name: 'pre-activation basic, in blocks',
    make: () => preResNet({ ...common, depth: 14, width: 8, image: 16, seed: 36 }),
    family: { family: 'preact', params: { layers: [2, 2, 2] } },
  },
];
const BLOCKED = [
  { recipe: 'rewire', partition: 'widen', target: 'cpu', block: 8, batch: 8 },
  { recipe: 'paper', partition: 'widen', target: 'cpu', block: 8, batch: 8 },
] as const;

interface Case extends Pick<Settings, 'recipe' | 'partition' | 'target'> {
  readonly recipe: 'rewire' | 'paper';
  readonly block?: BlockSize;
  readonly batch?: number;
  readonly make: () => Model;
  readonly family: Family;
}

const CASES: readonly (Case & { readonly name: string })[] = [
  ...NETWORKS.flatMap((network) => FORMS.map((form) => ({ ...network, ...form }))),
  ...WIDE.flatMap((network) => BLOCKED.map((form) => ({ ...network, ...form }))),
];

describe.each(CASES)('$name', ({ make, family, recipe, partition, target, ...more }) => {
  test(`${recipe} ${partition} ${target}`, async () => {
    await withFolder((folder) => {
      const model = make();
      // Where no weight changes, PyTorch reads the original's file.
      const carriesOver = recipe === 'rewire' && partition === 'widen';
      const original = carriesOver ? saveModel(model, folder) : '';
      const coupled = couple(model, { recipe, partition, seed: 7, ...more });
      const weights = carriesOver ? original : saveModel(coupled.rev, folder);
      const own = evaluate(
        build(coupled, { policy: 'reverse', target }),
        constantsByName(coupled.rev),
        11,
      );
      const torch = coupledReference(folder, weights, family, batchOf(own), { recipe, partition });
      expect(coupled.chains.map((c) => c.couplings.map((k) => k.id))).toEqual(torch.runs);
      expect(Math.abs(own.loss - torch.loss)).toBeLessThanOrEqual(LIMIT * torch.loss);
      expect(maxDistance(own.logits, torch.logits).maxRel).toBeLessThanOrEqual(LIMIT);
      expect([...own.gradients.keys()].sort()).toEqual([...torch.gradients.keys()].sort());
      const [gap, where] = worstTensor(own.gradients, torch.gradients);
      expect(gap, where).toBeLessThanOrEqual(LIMIT);
      expect([...own.running.keys()].sort()).toEqual([...torch.running.keys()].sort());
      const [drift, which] = worstTensor(own.running, torch.running);
      expect(drift, which).toBeLessThanOrEqual(LIMIT);
    });
  });
});
