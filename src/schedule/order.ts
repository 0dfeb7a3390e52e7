// The order of the step graph. In: a graph whose results have been named in the order they shall be computed.
// Out: the same nodes, ordered so that an executor which walks back from the last result (ONNX Runtime does)
// computes them in that order. Invariant: producers come before their readers.
//
// ONNX Runtime ignores the order of the file except in two places: it starts at the nodes nobody reads, the
// last in the file first, and among a node's operands it visits the producer that is latest in the file first.

import type { Graph, Node, Value } from '../ir/index.js';

const isLeaf = (node: Node): boolean => node.outputs.every((v) => !v?.isUsed);

/**
 * Puts the nodes nobody reads at the end.
 * @param wanted these nodes in the order they shall run; others run before them
 */
export function orderResults(graph: Graph, wanted: readonly Node[]): void {
  graph.sort();
  const rank = new Map(wanted.map((node, index) => [node, index]));
  const inner: Node[] = [];
  const leaves: Node[] = [];
  const depth = depths(graph);
  for (const node of graph.nodes) (isLeaf(node) ? leaves : inner).push(node);
  inner.sort((a, b) => (depth.get(a) ?? 0) - (depth.get(b) ?? 0));
  const at = (node: Node): number => rank.get(node) ?? -1;
  // The first to run stands last.
  leaves.sort((a, b) => at(b) - at(a));
  graph.reorder([...inner, ...leaves]);
}

/**
 * How many nodes the longest way to each node has. Sorting by it lets the executor work on the operand that takes
 * longest first: what is quickly made of something that is at hand anyway (a mask, a normalized copy) is made when
 * it is needed, rather than kept while the other operand is computed.
 *
 * Probes of one element stand as late as they can instead: among them the order they were made in decides.
 */
function depths(graph: Graph): Map<Node, number> {
  const depth = new Map<Node, number>();
  for (const node of graph.nodes) {
    let most = 0;
    for (const value of [...node.inputs, ...node.captures])
      if (value?.producer) most = Math.max(most, depth.get(value.producer) ?? 0);
    depth.set(node, most + 1);
  }
  for (const node of [...graph.nodes].reverse()) {
    const [reader, ...others] = node.outputs[0]?.users ?? [];
    const isProbe = node.outputs.length === 1 && node.outputs[0]?.shape?.every((d) => d === 1);
    if (isProbe && reader && others.length === 0) depth.set(node, (depth.get(reader) ?? 0) - 1);
  }
  return depth;
}

/** A graph as an executor runs it after its own rewrites. */
export interface RunView {
  inputs(node: Node): readonly (Value | undefined)[];
  /** Whether the node was put in place of another: it then stands behind all others. */
  isNew(node: Node): boolean;
  /** Whether the node is not run at all. */
  isGone(node: Node): boolean;
}

const AS_IT_IS: RunView = {
  inputs: (node) => node.inputs,
  isNew: () => false,
  isGone: () => false,
};

/** The order in which ONNX Runtime runs the nodes of a graph (its default, a depth-first search from the leaves). */
export function executionOrder(graph: Graph, view: RunView = AS_IT_IS): Node[] {
  const index = new Map<Node, number>();
  for (const node of graph.nodes) if (!view.isNew(node)) index.set(node, index.size);
  for (const node of graph.nodes) if (view.isNew(node)) index.set(node, index.size);
  const at = (node: Node): number => index.get(node) ?? 0;
  const stack: { node: Node; leave: boolean }[] = [];
  for (const node of graph.nodes) if (isLeaf(node)) stack.push({ node, leave: false });
  const seen = new Set<Node>();
  const order: Node[] = [];
  for (let top = stack.pop(); top; top = stack.pop()) {
    const { node } = top;
    if (top.leave) {
      order.push(node);
      continue;
    }
    if (seen.has(node)) continue;
    seen.add(node);
    stack.push({ node, leave: true });
    const producers = new Set<Node>();
    for (const value of view.inputs(node)) if (value?.producer) producers.add(value.producer);
    for (const producer of [...producers].sort((a, b) => at(a) - at(b)))
      if (!seen.has(producer)) stack.push({ node: producer, leave: false });
  }
  return order;
}
