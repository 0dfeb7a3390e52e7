// Pass couple-residual-blocks: residual blocks become half-couplings of two streams. In: the blocks found. Out:
// state.sections, whose ends partition-channels closes, and one report per block with the reason why it was or was not
// coupled. Invariant: a block that is left computes what it computed before.

import {
  because,
  findRuns,
  findSections,
  isBlock,
  nodeName,
  shapesText,
} from '../src/analysis/index.js';
import type { Reason, ResidualBlock, SectionBlock } from '../src/analysis/index.js';
import type { Graph, Node } from '../src/ir/index.js';
import { findOp } from '../src/ops/index.js';
import { coupleSection, isReversible } from '../src/reversible/index.js';
import type { HalfCoupling } from '../src/reversible/index.js';
import { amountOf } from './partition-channels.js';
import { choicesOf, definePass } from './state.js';
import type { AddReport, BlockReport, CompileState, Transitions } from './state.js';

function leftReason(
  block: ResidualBlock,
  blocks: readonly ResidualBlock[],
  transitions: Transitions,
): Reason {
  const { obstacle, nested, shapesProved, kind, add } = block;
  if (obstacle) return obstacle;
  if (nested) {
    const branch = new Set([...block.branch, ...block.shortcut]);
    const inner = blocks.filter((other) => branch.has(other.add)).map(({ id }) => id);
    const [first, last] = [inner[0] ?? '', inner.at(-1) ?? ''];
    const names = inner.length === 1 ? first : `${first} to ${last}, ${inner.length} in all`;
    return because(
      'nested',
      `its branch holds other residual blocks (${names}), which are treated instead`,
    );
  }
  if (!shapesProved) {
    const unknown = [...block.branch, ...block.shortcut].find((node) => !findOp(node));
    if (unknown)
      return because('operator', `its branch holds ${nodeName(unknown)}, which is not supported`);
    const shapes = shapesText(add.input(0), add.input(1));
    return because(
      'unproved',
      `the shapes of shortcut and branch could not be proved equal: ${shapes}`,
    );
  }
  if (kind === 'projection' && transitions === 'stored')
    return because('stored', 'its shortcut changes the shape, so it has no inverse');
  return because('alone', 'stands alone: a chain needs two blocks of one shape to save anything');
}

const coupledReason = ({ kind }: ResidualBlock): Reason =>
  kind === 'identity'
    ? because('coupled', 'half-coupling of a chain of equal-shape blocks')
    : because('transition', 'stage transition of a chain: each stream has a shortcut of its own');

const addReport = (id: string, add: Node, coupled: boolean, reason: Reason): AddReport => ({
  id,
  add: add.name,
  coupled,
  code: reason.code,
  reason: reason.why,
  advice: reason.advice,
});

const blockReport = (block: ResidualBlock, coupled: boolean, reason: Reason): BlockReport => ({
  ...addReport(block.id, block.add, coupled, reason),
  kind: block.kind,
  shape: block.shape,
});

function reusedReport(coupling: HalfCoupling): BlockReport | undefined {
  const { id, t } = coupling;
  const reversible = isReversible(coupling);
  return (
    t.producer && {
      ...addReport(
        id,
        t.producer,
        true,
        because(
          'reversible',
          reversible
            ? 'already reversible: a half-coupling of two streams, reused as it is'
            : 'already reversible: stage transition between couplings, reused as it is',
        ),
      ),
      kind: reversible ? 'identity' : 'projection',
      shape: t.shape,
    }
  );
}

/** One report per residual connection, in the order of the network; the other Adds apart. */
function reportAdds(state: CompileState, reportOf: (block: ResidualBlock) => BlockReport): void {
  const reports: BlockReport[] = state.chains.flatMap(({ couplings }) =>
    couplings.flatMap((coupling) => reusedReport(coupling) ?? []),
  );
  const others: AddReport[] = [];
  for (const examined of state.examined) {
    if (isBlock(examined)) {
      reports.push(reportOf(examined));
      continue;
    }
    const { id, add, reason, residual } = examined;
    const report = addReport(id, add, false, reason);
    if (residual) reports.push({ ...report, kind: 'identity', shape: add.output().shape });
    else others.push(report);
  }
  const place = new Map([...state.model.graph.nodes].map((node, index) => [node.name, index]));
  const at = ({ add }: AddReport): number => place.get(add) ?? 0;
  state.reports = reports.sort((a, b) => at(a) - at(b));
  state.others = others;
}

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
      const none = because('recipe', 'recipe none leaves the network as it is');
      reportAdds(state, (block) => blockReport(block, false, none));
      return;
    }
    const { transitions } = choicesOf(state.settings);
    if (state.settings.match !== 'none') state.original = amountOf(state.model, state.settings);
    const sections = sectionsOf(graph, state.blocks, transitions);
    const coupled = new Set(sections.flatMap((section) => section.map(({ block }) => block)));
    state.sections = sections.map((section) => coupleSection(graph, section, seed));
    reportAdds(state, (block) =>
      coupled.has(block)
        ? blockReport(block, true, coupledReason(block))
        : blockReport(block, false, leftReason(block, state.blocks, transitions)),
    );
  },
});
