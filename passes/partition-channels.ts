// Pass partition-channels: shares the channels out between the two streams. In: coupled sections whose ends are open.
// Out: state.chains; weights widened, sliced or as they were, inner widths matched to the original's size where that is
// asked for. Invariant: outside the sections only what reads or makes their ends changes.

import { DiagnosticError } from '../src/diagnostics/index.js';
import { cloneModel, elementCount, isStatic } from '../src/ir/index.js';
import type { Model, Node, Value } from '../src/ir/index.js';
import { findParameters } from '../src/autodiff/index.js';
import { findOp, inferContext } from '../src/ops/index.js';
import {
  addsOf,
  findCoupledChains,
  matchWidths,
  partitionSections,
} from '../src/reversible/index.js';
import type { AxisClass } from '../src/analysis/index.js';
import type { Term, Widths } from '../src/reversible/index.js';
import { bindShapes } from './bind-shapes.js';
import { choicesOf, createState, definePass } from './state.js';
import type { CompileState, Settings } from './state.js';

/** The matrix or filter a node computes with. */
const weightOf = (node: Node): Value | undefined =>
  node.inputs.find((v) => v?.constant?.dtype === 'float32' && v.constant.dims.length >= 2);

/** Floating point operations of every node that computes with a weight, at the batch size of the settings. */
function flopTerms(model: Model, settings: Settings): Term[] {
  const bound = cloneModel(model).model;
  bindShapes.run(createState(bound, settings));
  const nodes = [...model.graph.nodes];
  return [...bound.graph.nodes].flatMap((node, index): Term[] => {
    const original = nodes[index];
    const weight = original && weightOf(original);
    const shape = node.outputs[0]?.shape;
    if (!weight || !isStatic(shape)) return [];
    return [{ weight, amount: findOp(node)?.flops?.(inferContext(node)) ?? 0 }];
  });
}

const parameterTerms = (model: Model): Term[] =>
  findParameters(model.graph).map((weight) => ({
    weight,
    amount: elementCount(weight.constant?.dims ?? []),
  }));

const termsOf = (model: Model, settings: Settings): Term[] =>
  settings.match === 'flops' ? flopTerms(model, settings) : parameterTerms(model);

/** What the network amounts to in the currency of --match. To be called before it is coupled. */
export const amountOf = (model: Model, settings: Settings): number => {
  model.graph.sort();
  return termsOf(model, settings).reduce((sum, { amount }) => sum + amount, 0);
};

function checkChoices({ partition, stem, head }: Settings): void {
  if (partition !== 'split') return;
  for (const [option, value, only] of [
    ['--stem', stem, undefined],
    ['--head', head, 'concat'],
  ] as const)
    if (value !== undefined && value !== only)
      throw new DiagnosticError(
        'usage/option',
        option,
        `${value} does not go with --partition split, which splits the input by channels and joins by concatenation`,
        `leave ${option} out, or use --partition widen`,
      );
}

/** Two decimals of a percentage. */
const percent = (ratio: number): string => `${(100 * ratio).toFixed(2)} %`;
/** Beyond this the user is told. */
const NOTABLE = 0.02;

function choose(
  state: CompileState,
  terms: readonly Term[],
  widths: Widths,
): Map<AxisClass, number> {
  const { match } = state.settings;
  const target = state.original;
  if (match === 'none' || target === undefined) return new Map();
  const matched = matchWidths(widths, terms, target);
  const off = matched.total / target - 1;
  if (Math.abs(off) > NOTABLE)
    state.notes.push(
      `--match ${match} came only within ${percent(Math.abs(off))} of the original: ` +
        (widths.classes.length === 0
          ? 'no width inside the residual functions can be changed'
          : 'the widths inside the residual functions cannot make up for the rest'),
    );
  return new Map(matched.widths);
}

export const partitionChannels = definePass({
  name: 'partition-channels',
  summary: 'share the channels out between the streams; widen, slice and match widths',
  needs: ['couple-residual-blocks'],
  settings: ['partition', 'match', 'stem', 'head'],
  run: (state) => {
    const { model, settings, sections } = state;
    if (sections.length === 0) return;
    checkChoices(settings);
    const terms = settings.match === 'none' ? [] : termsOf(model, settings);
    const { stem, head } = choicesOf(settings);
    const { partition, seed } = settings;
    const result = partitionSections(
      model.graph,
      sections,
      { partition, stem, head, seed },
      (widths) => choose(state, terms, widths),
    );
    // Those that were there already: values may have been replaced where they meet what was made now.
    const known = addsOf(state.chains);
    const reused = findCoupledChains(model.graph).filter(({ couplings }) =>
      couplings.every(({ t }) => t.producer && known.has(t.producer)),
    );
    state.chains = [...reused, ...result.chains];
    state.notes.push(...result.notes);
    state.sections = [];
  },
});
