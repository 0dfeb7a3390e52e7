// Pass couple-residual-blocks: runs of identity blocks become reversible chains (recipe "rewire"). In: the blocks
// found. Out: state.chains, and one report per block with the reason why it was or was not coupled. Invariant:
// a block that is left computes what it computed before.

import { findRuns } from '../src/analysis/index.js';
import type { ResidualBlock } from '../src/analysis/index.js';
import { coupleRun } from '../src/reversible/index.js';
import { definePass } from './state.js';
import type { BlockReport } from './state.js';

function leftReason(block: ResidualBlock): string {
  if (block.nested) return 'its branch holds other residual blocks, which are treated instead';
  if (block.kind === 'projection') return 'its shortcut changes the shape, so it has no inverse';
  if (!block.shapesProved) return 'the shapes of shortcut and branch could not be proved equal';
  return 'stands alone: a chain needs two blocks of one shape to save anything';
}

const report = (block: ResidualBlock, coupled: boolean, reason: string): BlockReport => ({
  id: block.id,
  kind: block.kind,
  shape: block.shape,
  coupled,
  reason,
});

export const coupleResidualBlocks = definePass({
  name: 'couple-residual-blocks',
  summary: 'rewrite runs of identity blocks into reversible couplings (recipe rewire)',
  needs: ['find-residual-blocks'],
  settings: ['recipe'],
  run: (state) => {
    const { graph } = state.model;
    if (state.settings.recipe === 'none') {
      state.reports = state.blocks.map((b) =>
        report(b, false, 'recipe none leaves the network as it is'),
      );
      return;
    }
    const runs = findRuns(graph, state.blocks).filter((run) => run.length >= 2);
    const coupled = new Set(runs.flat());
    state.chains = runs.map((run) => coupleRun(graph, run));
    state.reports = state.blocks.map((block) =>
      coupled.has(block)
        ? report(block, true, 'half-coupling of a chain of equal-shape blocks')
        : report(block, false, leftReason(block)),
    );
  },
});
