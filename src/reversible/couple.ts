// Residual blocks → reversible couplings. In: a section of blocks x_k+1 = S_k(x_k) + f_k(x_k), S_k the identity or a
// shortcut that changes the shape. Out: the same blocks as half-couplings of two streams: state (a, b) before, (c, t)
// after, with t = S(a) + f(b), and c = b, or a second shortcut of b. Invariant: residual functions are not touched; only
// the shortcut operands of the Adds move, and where a section starts and ends stand marked nodes that leave open how the
// streams are filled and joined (partition.ts). Until then both streams are copies of the input, as wide as it.
// Source: Gomez et al. 2017, "The Reversible Residual Network", section 3.1; two consecutive half-couplings
// are its y1 = x1 + F(x2), y2 = x2 + G(y1).

import { invariant } from '../diagnostics/index.js';
import type { Graph, Node, Value } from '../ir/index.js';
import type { SectionBlock } from '../analysis/index.js';
import { Builder } from '../ops/index.js';
import { copyOf } from './copy.js';

/** State (a, b) before, (carried, t) after: t = S(a) + f(b). */
export interface HalfCoupling {
  readonly id: string;
  readonly a: Value;
  readonly b: Value;
  /** Value of the residual function f(b). */
  readonly f: Value;
  readonly t: Value;
  /** b itself, or, where the shape changes, its shortcut. */
  readonly carried: Value;
}

/** Whether (a, b) can be computed from (b, t). */
export const isReversible = (coupling: HalfCoupling): boolean => coupling.carried === coupling.b;

export interface CoupledChain {
  readonly id: string;
  readonly couplings: readonly HalfCoupling[];
  /** What the rest of the network reads: the streams joined. */
  readonly output: Value;
}

/**
 * Whether a stream is kept rather than rebuilt: the first that a run of couplings reads, where it is read by a layer normalization.
 * That divides each row by its own deviation, and rows of different size are what a network begins with (a class token of
 * zeros beside patches): the error of a rebuilt stream, small beside its largest row, is large beside such a row. In
 * torchvision's vit_b_16 before training it made gradients 1400 times less exact than float32 does.
 */
export const isKept = (first: Pick<HalfCoupling, 'b'> | undefined, stream: Value): boolean =>
  stream === first?.b &&
  stream.users.some(({ op, domain }) => op === 'LayerNormalization' && domain === '');

/** The Adds of chains. */
export const addsOf = (chains: readonly CoupledChain[]): Set<Node> =>
  new Set(
    chains.flatMap(({ couplings }) =>
      couplings.flatMap(({ t }) => (t.producer ? [t.producer] : [])),
    ),
  );

/** A chain whose ends are still open. */
export interface CoupledSection extends CoupledChain {
  /** The value both streams are made of. */
  readonly input: Value;
  /** The nodes that copy it; to be replaced. */
  readonly entry: readonly [Node, Node];
  /** Sum and average of the last state; may be replaced. */
  readonly join: readonly [Node, Node];
}

/** Rewrites one section. @param seed of the weights of second shortcuts */
export function coupleSection(
  graph: Graph,
  section: readonly SectionBlock[],
  seed = 0,
): CoupledSection {
  const [first, last] = [section[0]?.block, section.at(-1)?.block];
  invariant(first && last && section.length >= 2, 'a chain needs two blocks');
  const { input } = first;
  const builder = new Builder(graph, { phase: 'forward', path: `${first.id}/streams` });
  const entry = [
    builder.node('Identity', [input], { name: 'a' }),
    builder.node('Identity', [input], { name: 'b' }),
  ] as const;
  let [a, b] = [entry[0].output(), entry[1].output()];
  for (const node of [...first.branch, ...first.shortcut])
    node.inputs.forEach((value, index) => {
      if (value === input) node.setInput(index, b);
    });
  const couplings = section.map(({ block, prefix }): HalfCoupling => {
    const { id, add, shortcutIndex, output: t } = block;
    const coupling = { id, a, b, f: add.input(1 - shortcutIndex), t };
    // In networks that activate after the Add, block.input is ReLU(state): the ReLU stays before the
    // function, the shortcut of an identity block now skips it.
    if (block.kind === 'identity') {
      add.setInput(shortcutIndex, a);
      [a, b] = [b, t];
      return { ...coupling, carried: coupling.b };
    }
    const carried = add.input(shortcutIndex);
    const second = copyOf([...prefix, ...block.shortcut], new Map([[b, a]]), graph, seed);
    add.setInput(shortcutIndex, second(carried));
    [a, b] = [carried, t];
    return { ...coupling, carried };
  });
  const end = builder.within({ path: `${last.id}/streams` });
  const before = new Set(last.output.users);
  const sum = end.node('Add', [a, b], { name: 'sum' });
  const average = end.node('Mul', [sum.output(), end.scalar(0.5)], { name: 'average' });
  const output = average.output();
  const index = graph.outputs.indexOf(last.output);
  graph.replaceUses(last.output, output, (use) => before.has(use.node));
  if (index >= 0) graph.outputs[index] = output;
  graph.sort();
  const join = [sum, average] as const;
  return { id: `${first.id}..${last.id}`, couplings, output, input, entry, join };
}
