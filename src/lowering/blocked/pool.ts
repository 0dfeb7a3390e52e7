// Pooling in the blocked layout. In: X. Out: averages per image and channel, which lie in either layout alike.

import type { BlockedLowering } from './definition.js';
import { dimsOf, isMultiple } from './definition.js';
import { blockAttribute } from '../../ops/index.js';

const globalAveragePool: BlockedLowering = {
  type: 'GlobalAveragePool',
  maps: 1,
  follows: true,
  domain: '',
  isPlain: true,
  applies: (node, block) => isMultiple(dimsOf(node.input(0))[1], block),
  build: (ctx) => [
    ctx.b.op('nchwc.GlobalAveragePool', [ctx.blocked(0)], {
      attributes: blockAttribute(ctx.s.block),
    }),
  ],
};

export const blockedPools: readonly BlockedLowering[] = [globalAveragePool];
