// Pass inline-branches: an If whose condition is a constant becomes the branch that is taken. In: a graph with its
// constants folded. Out: no control flow; where the data decides, the model is refused. Invariant: what comes out of a
// branch is in the state the passes before this one leave a graph in.

import { inlineBranches, inlineFunctions, refuseControlFlow } from '../src/rewrite/inline/index.js';
import { convertOpset } from '../src/rewrite/upgrades/index.js';
import { foldConstants } from './fold-constants.js';
import { definePass } from './state.js';
import { floatsToFloat32 } from './to-float32.js';

export const inlineBranchesPass = definePass({
  name: 'inline-branches',
  summary: 'replace an If with a constant condition by the branch that is taken',
  run: (state) => {
    const { model, opsets, notes } = state;
    let taken = 0;
    // A branch may hold an If, and a call of a function that holds one.
    for (let more; (more = inlineBranches(model.graph, opsets)) > 0; taken += more) {
      inlineFunctions(model, opsets);
      floatsToFloat32(model.graph);
      convertOpset(model, opsets);
      foldConstants.run(state);
    }
    refuseControlFlow(model.graph);
    if (taken > 0)
      notes.push(`${taken} If with a constant condition replaced by the branch that is taken`);
  },
});
