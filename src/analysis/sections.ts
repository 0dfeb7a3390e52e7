// Stretches of residual blocks that two streams can pass through. In: residual blocks. Out: maximal sequences of
// consecutive blocks, those that change the shape included. Invariant: between two blocks of a section nothing else
// reads the state, except what the second block's two operands both start with (its prefix: an activation, a batch norm).

import type { Graph, Node, Value } from '../ir/index.js';
import { findOp } from '../ops/index.js';
import { belongsTo, dataReaders } from './readers.js';
import type { ResidualBlock } from './residual.js';

export interface SectionBlock {
  readonly block: ResidualBlock;
  /** What stands between the state and block.input; for identity blocks at most one activation or norm. */
  readonly prefix: readonly Node[];
}

/** Longer than any exporter's activation between two blocks. */
const MAX_PREFIX = 4;

/** Sections in topological order; every block that is not nested is in exactly one, sections of one included. */
export function findSections(graph: Graph, blocks: readonly ResidualBlock[]): SectionBlock[][] {
  const usable = blocks.filter((b) => !b.nested && !b.obstacle);
  const byInput = new Map<Value, ResidualBlock>();
  for (const block of usable) byInput.set(block.input, block);
  const next = new Map<ResidualBlock, SectionBlock>();
  const continued = new Set<ResidualBlock>();
  for (const block of usable) {
    const following = successor(graph, block, byInput);
    if (!following || !joinable(following.block) || !joinable(block)) continue;
    next.set(block, following);
    continued.add(following.block);
  }
  return usable
    .filter((block) => !continued.has(block))
    .map((block) => {
      const section: SectionBlock[] = [{ block, prefix: [] }];
      for (let at = next.get(block); at; at = next.get(at.block)) section.push(at);
      return section;
    });
}

const joinable = (block: ResidualBlock): boolean => block.shapesProved;

function successor(
  graph: Graph,
  block: ResidualBlock,
  byInput: ReadonlyMap<Value, ResidualBlock>,
): SectionBlock | undefined {
  const prefix: Node[] = [];
  for (let state = block.output; prefix.length <= MAX_PREFIX;) {
    const readers = dataReaders(graph, state);
    if (!readers) return undefined;
    const following = byInput.get(state);
    if (following)
      return readers.every((r) => belongsTo(r, following)) && fits(following, prefix)
        ? { block: following, prefix }
        : undefined;
    const [only] = readers;
    if (!only || readers.length > 1 || !isLight(only, state)) return undefined;
    prefix.push(only);
    state = only.output();
  }
  return undefined;
}

/** What the shortcut of an identity block may skip, since it moves into the residual function: the activation after the
 * Add of a v1 network, the normalization after the Add of a post-norm transformer. */
const MOVABLE = new Set(['Relu', 'LayerNormalization']);

/** More than one of these would be another network. The two paths of a projection both take the prefix along. */
const fits = (block: ResidualBlock, prefix: readonly Node[]): boolean =>
  block.kind === 'projection' ||
  prefix.length === 0 ||
  (prefix.length === 1 && prefix[0]?.domain === '' && MOVABLE.has(prefix[0].op));

/** One operand of data, one result, same shape. */
const isLight = (node: Node, data: Value): boolean =>
  findOp(node)?.keepsShape === true &&
  node.outputs.filter((v) => v).length === 1 &&
  node.input(0) === data &&
  node.inputs.slice(1).every((v) => v?.constant !== undefined || v === undefined);

/** The stretches of identity blocks of one shape within the sections: what two streams can pass through without any
 * change of shape. Every identity block that is not nested is in exactly one, runs of one block included. */
export function findRuns(graph: Graph, blocks: readonly ResidualBlock[]): ResidualBlock[][] {
  const runs: ResidualBlock[][] = [];
  for (const section of findSections(graph, blocks)) {
    let run: ResidualBlock[] = [];
    for (const { block } of section) {
      if (block.kind === 'identity') run.push(block);
      if (block.kind === 'identity' && run.length === 1) runs.push(run);
      if (block.kind !== 'identity') run = [];
    }
  }
  return runs;
}
