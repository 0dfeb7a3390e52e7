// The networks that speed and batch sizes are measured on, by name. Invariant: seeded weights, the same in every process.

import { preResNet, resNetImageNet } from '../../fixtures/models.js';
import { visionTransformer } from '../../fixtures/transformers.js';
import type { Model } from '../../src/ir/index.js';

export interface BenchNetwork {
  readonly make: () => Model;
  /** The usual batch size. */
  readonly batch: number;
}

const cifar = (depth: number): BenchNetwork => ({ make: () => preResNet({ depth }), batch: 128 });

/** As torchvision builds it, for 224×224 images. */
const imageNet = (layers: readonly number[], block: 'basic' | 'bottleneck'): BenchNetwork => ({
  make: () => resNetImageNet({ layers, block, image: 224 }),
  batch: 16,
});

export const NETWORKS = {
  preresnet20: cifar(20),
  preresnet56: cifar(56),
  preresnet110: cifar(110),
  resnet18: imageNet([2, 2, 2, 2], 'basic'),
  resnet50: imageNet([3, 4, 6, 3], 'bottleneck'),
  resnet101: imageNet([3, 4, 23, 3], 'bottleneck'),
  vit_tiny: {
    make: () => visionTransformer({ depth: 12, width: 192, heads: 3, patch: 4, image: 32 }),
    batch: 32,
  },
} satisfies Readonly<Record<string, BenchNetwork>>;

export type NetworkName = keyof typeof NETWORKS;
export const NETWORK_NAMES = Object.keys(NETWORKS) as NetworkName[];
