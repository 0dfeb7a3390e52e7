// Pass find-residual-blocks: what there is to couple. Fills state.examined, state.blocks and the length of the longest run.

import { examineAdds, findRuns, isBlock } from '../src/analysis/index.js';
import { addsOf } from '../src/reversible/index.js';
import { definePass } from './state.js';

export const findResidualBlocksPass = definePass({
  name: 'find-residual-blocks',
  summary: 'find residual blocks and the runs they form',
  run: (state) => {
    const { graph } = state.model;
    state.examined = examineAdds(graph, addsOf(state.chains));
    state.blocks = state.examined.filter(isBlock);
    state.longestRun = Math.max(0, ...findRuns(graph, state.blocks).map((run) => run.length));
  },
});
