// Runs of residual blocks that can share two streams. In: residual blocks. Out: maximal runs of consecutive
// identity blocks of one shape. Invariant: between two blocks of a run nothing else reads the state, except
// one ReLU (networks that activate after the Add), which then belongs to the next residual function.

import type { Graph, Node, Value } from '../ir/index.js';
import type { ResidualBlock } from './residual.js';

const SHAPE_READERS = new Set(['Shape', 'Size']);

/** Runs in topological order; every identity block is in exactly one, runs of one block included. */
export function findRuns(graph: Graph, blocks: readonly ResidualBlock[]): ResidualBlock[][] {
  const byInput = new Map<Value, ResidualBlock>();
  const usable = blocks.filter((b) => b.kind === 'identity' && !b.nested);
  for (const block of usable) byInput.set(block.input, block);
  const next = (block: ResidualBlock): ResidualBlock | undefined => {
    const following = successor(graph, block, byInput);
    return following?.shapesProved === true && block.shapesProved ? following : undefined;
  };
  const followers = new Map(usable.map((block) => [block, next(block)]));
  const continued = new Set(followers.values());
  return usable
    .filter((block) => !continued.has(block))
    .map((first) => {
      const run: ResidualBlock[] = [];
      for (let b: ResidualBlock | undefined = first; b; b = followers.get(b)) run.push(b);
      return run;
    });
}

function successor(
  graph: Graph,
  block: ResidualBlock,
  byInput: ReadonlyMap<Value, ResidualBlock>,
): ResidualBlock | undefined {
  const readers = dataReaders(graph, block.output);
  if (!readers) return undefined;
  const only = readers.length === 1 ? readers[0] : undefined;
  const relu = only?.op === 'Relu' && only.domain === '' ? only : undefined;
  const direct = byInput.get(block.output);
  if (direct) return readers.every((r) => belongsTo(r, direct)) ? direct : undefined;
  if (!relu) return undefined;
  const state = relu.output();
  const following = byInput.get(state);
  const onward = dataReaders(graph, state);
  return following && onward?.every((r) => belongsTo(r, following)) ? following : undefined;
}

/** Readers of the value as data; undefined when it is also a graph output. */
function dataReaders(graph: Graph, value: Value): Node[] | undefined {
  if (graph.outputs.includes(value)) return undefined;
  return value.users.filter((user) => !SHAPE_READERS.has(user.op));
}

const belongsTo = (node: Node, block: ResidualBlock): boolean =>
  node === block.add || block.branch.includes(node);
