// The order of the step graph. In: a graph whose results have been named in the order they shall be computed.
// Out: the same nodes, ordered so that an executor which walks back from the last result (ONNX Runtime does)
// computes them in that order. Invariant: producers come before their readers.
//
// ONNX Runtime ignores the order of the file except in two places: it starts at the nodes nobody reads, the
// last in the file first, and among a node's operands it visits the producer that is latest in the file first.

import { isLeaf, number } from '../ir/index.js';
import type { Graph, Node } from '../ir/index.js';

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
  inner.sort((a, b) => (depth[a.place] ?? 0) - (depth[b.place] ?? 0));
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
 * @returns by the places of the nodes, which it numbers
 */
function depths(graph: Graph): Int32Array {
  const depth = new Int32Array(number(graph.nodes));
  for (const node of graph.nodes) {
    let most = 0;
    for (const value of node.reads)
      if (value?.producer) most = Math.max(most, depth[value.producer.place] ?? 0);
    depth[node.place] = most + 1;
  }
  for (const node of [...graph.nodes].reverse()) {
    const [result] = node.outputs;
    if (node.outputs.length !== 1 || result?.useCount !== 1) continue;
    const [reader] = result.users;
    if (reader && result.shape?.every((d) => d === 1))
      depth[node.place] = (depth[reader.place] ?? 0) - 1;
  }
  return depth;
}
