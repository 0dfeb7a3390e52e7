// Pass couple-residual-blocks: residual blocks become half-couplings of two streams. In: the blocks found. Out:
// state.sections, whose ends partition-channels closes, and one report per block with the reason why it was or was not
// coupled. Invariant: a block that is left computes what it computed before.

import { findRuns, findSections } from '../src/analysis/index.js';
import type { ResidualBlock, SectionBlock } from '../src/analysis/index.js';
import type { Graph } from '../src/ir/index.js';
import { coupleSection } from '../src/reversible/index.js';
import { amountOf } from './partition-channels.js';
import { choicesOf, definePass } from './state.js';
import type { BlockReport, Transitions } from './state.js';

function leftReason(block: ResidualBlock, transitions: Transitions): string {
  if (block.nested) return 'its branch holds other residual blocks, which are treated instead';
  if (!block.shapesProved) return 'the shapes of shortcut and branch could not be proved equal';
  if (block.kind === 'projection' && transitions === 'stored')
    return 'its shortcut changes the shape, so it has no inverse';
  return 'stands alone: a chain needs two blocks of one shape to save anything';
}

const coupledReason = (block: ResidualBlock): string =>
  block.kind === 'identity'
    ? 'half-coupling of a chain of equal-shape blocks'
    : 'stage transition of a chain: each stream has a shortcut of its own';

const report = (block: ResidualBlock, coupled: boolean, reason: string): BlockReport => ({
  id: block.id,
  kind: block.kind,
  shape: block.shape,
  coupled,
  reason,
});

/** Reversal saves memory where two functions in a row can be reversed. */
const saves = (section: readonly SectionBlock[]): boolean =>
  section.some(
    ({ block }, index) =>
      block.kind === 'identity' && section[index - 1]?.block.kind === 'identity',
  );

function sectionsOf(
  graph: Graph,
  blocks: readonly ResidualBlock[],
  transitions: Transitions,
): SectionBlock[][] {
  const sections =
    transitions === 'coupled'
      ? findSections(graph, blocks)
      : findRuns(graph, blocks).map((run) => run.map((block) => ({ block, prefix: [] })));
  return sections.filter(saves);
}

export const coupleResidualBlocks = definePass({
  name: 'couple-residual-blocks',
  summary: 'rewrite residual blocks into reversible couplings of two streams',
  needs: ['find-residual-blocks'],
  settings: ['recipe', 'transitions', 'match'],
  run: (state) => {
    const { graph } = state.model;
    const { recipe, seed } = state.settings;
    if (recipe === 'none') {
      state.reports = state.blocks.map((b) =>
        report(b, false, 'recipe none leaves the network as it is'),
      );
      return;
    }
    const { transitions } = choicesOf(state.settings);
    if (state.settings.match !== 'none') state.original = amountOf(state.model, state.settings);
    const sections = sectionsOf(graph, state.blocks, transitions);
    const coupled = new Set(sections.flatMap((section) => section.map(({ block }) => block)));
    state.sections = sections.map((section) => coupleSection(graph, section, seed));
    state.reports = state.blocks.map((block) =>
      coupled.has(block)
        ? report(block, true, coupledReason(block))
        : report(block, false, leftReason(block, transitions)),
    );
  },
});
