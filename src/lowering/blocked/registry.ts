// The rules of the blocked layout: one file per operator family. In: a node. Out: the rule for its operator.

import type { Node } from '../../ir/index.js';
import { blockedBatchNorms } from './batchnorm.js';
import { blockedConvs } from './conv.js';
import { domainOf } from './definition.js';
import type { BlockedLowering } from './definition.js';
import { blockedPools } from './pool.js';

const table = new Map<string, BlockedLowering>();
for (const lowering of [...blockedConvs, ...blockedBatchNorms, ...blockedPools])
  table.set(`${domainOf(lowering)}::${lowering.type}`, lowering);

export const findBlocked = (node: Node): BlockedLowering | undefined =>
  table.get(`${node.domain}::${node.op}`);
