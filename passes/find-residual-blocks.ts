// Pass find-residual-blocks: what there is to couple. Fills state.blocks and the length of the longest run.

import { findResidualBlocks, findRuns } from '../src/analysis/index.js';
import { definePass } from './state.js';

export const findResidualBlocksPass = definePass({
  name: 'find-residual-blocks',
  summary: 'find residual blocks and the runs they form',
  run: (state) => {
    const { graph } = state.model;
    state.blocks = findResidualBlocks(graph);
    state.longestRun = Math.max(0, ...findRuns(graph, state.blocks).map((run) => run.length));
  },
});
