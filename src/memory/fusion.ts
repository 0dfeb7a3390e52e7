// What ONNX Runtime fuses in a step before it plans memory. In: a graph. Out: the graph as it is run: which nodes go,
// what the others read instead. Invariant: only fusions that change how much memory is needed, and that happen in
// every step: a Transpose of the last two axes becomes a flag of the matrix product that reads it.

import type { Graph, Node, RunView, Value } from '../ir/index.js';

/** Swaps the last two axes and leaves the rest where they are. */
function swapsLast(node: Node): boolean {
  const perm = node.attributes.ints('perm');
  const rank = node.outputs[0]?.shape?.length;
  if (node.op !== 'Transpose' || node.domain !== '' || rank === undefined || rank < 2) return false;
  return perm?.every((axis, i) => axis === (i < rank - 2 ? i : 2 * rank - 3 - i)) ?? rank === 2;
}

/** The graph as the executor runs it. */
export function fuse(graph: Graph): RunView {
  const replaced = new Map<Node, readonly (Value | undefined)[]>();
  const readers = new Map<Value, number>();
  for (const node of graph.nodes) {
    if (node.op !== 'MatMul' || node.domain !== '') continue;
    const sources = node.inputs.map((value) =>
      value?.producer && swapsLast(value.producer) ? value.producer.inputs[0] : value,
    );
    sources.forEach((source, index) => {
      const value = node.inputs[index];
      if (!value || source === value) return;
      readers.set(value, (readers.get(value) ?? 0) + 1);
      replaced.set(node, sources);
    });
  }
  // A Transpose that others read as well stays for them.
  const gone = new Set<Node>();
  for (const [value, count] of readers)
    if (value.producer && value.uses.length === count && !graph.outputs.includes(value))
      gone.add(value.producer);
  return {
    inputs: (node) => replaced.get(node) ?? node.inputs,
    // A fused node is a new one: it stands behind all others in the file.
    isNew: (node) => replaced.has(node),
    isGone: (node) => gone.has(node),
  };
}
