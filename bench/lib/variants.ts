// The ways of training that benchmarks compare: recipes, partitions and the original with stored activations.

import type { CompileOptions } from '../../src/compiler/index.js';

type Form = Pick<CompileOptions, 'recipe' | 'partition' | 'match' | 'policy'>;

export const VARIANTS = {
  plain: { recipe: 'none', policy: 'store' },
  paper: { recipe: 'paper', policy: 'reverse' },
  rewire: { recipe: 'rewire', policy: 'reverse' },
  split: { recipe: 'paper', partition: 'split', policy: 'reverse' },
  /** Half-width streams, wider inside: as many parameters as the original. */
  'split-params': { recipe: 'paper', partition: 'split', match: 'params', policy: 'reverse' },
  'paper-params': { recipe: 'paper', match: 'params', policy: 'reverse' },
} as const satisfies Readonly<Record<string, Form>>;

export type Variant = keyof typeof VARIANTS;
export const VARIANT_NAMES = Object.keys(VARIANTS) as Variant[];
