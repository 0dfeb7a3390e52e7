// Pass expand-group-norm: the counterpart of find-group-norm, for what is written. In: revnetify.GroupNormalization. Out:
// operators that every runtime has. Invariant: scale and bias stay the constants they were.

import { applyLowering, findLowering } from '../src/lowering/index.js';
import { Builder, REVNETIFY } from '../src/ops/index.js';
import { definePass } from './state.js';

export const expandGroupNorm = definePass({
  name: 'expand-group-norm',
  summary: 'spell out group normalization in standard operators',
  run: ({ model: { graph } }) => {
    const root = new Builder(graph, { phase: 'forward', path: '' });
    for (const node of [...graph.nodes]) {
      if (node.domain !== REVNETIFY || node.op !== 'GroupNormalization') continue;
      const rule = findLowering(node, 'portable');
      if (rule) applyLowering(graph, node, rule, root);
    }
    graph.sort();
  },
});
