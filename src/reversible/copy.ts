// A second copy of some nodes with weights of its own: the other stream's shortcut, the other stream's stem. In: nodes,
// what they shall read instead. Out: where the copy of each value is. Invariant: weights are drawn anew, other constants
// shared; the originals are not touched.

import type { Graph, Node, Value } from '../ir/index.js';
import { drawnConstant, initialOf } from './initial.js';

/** Copies nodes (in topological order) with weights of their own. Returns where to read the copy of a value. */
export function copyOf(
  nodes: readonly Node[],
  start: ReadonlyMap<Value, Value>,
  graph: Graph,
  seed: number,
): (value: Value) => Value {
  const copies = new Map(start);
  const copy = (value: Value): Value => copies.get(value) ?? value;
  for (const node of nodes) {
    const inputs = node.inputs.map((value, index) => {
      const initial = value && initialOf(node, index, value);
      if (!value?.constant || !initial || copies.has(value)) return value && copy(value);
      const name = `${value.name}.second`;
      const { dtype, dims } = value.constant;
      const own = graph.addConstant(name, drawnConstant(name, dtype, dims, initial, seed));
      copies.set(value, own);
      return own;
    });
    const made = graph.addNode({
      op: node.op,
      domain: node.domain,
      name: graph.uniqueName(`${node.name}.second`),
      inputs,
      outputs: node.outputs.map((v) => v && `${v.name}.second`),
      attributes: node.attributes,
      phase: node.phase,
    });
    node.outputs.forEach((value, index) => {
      const result = made.outputs[index];
      if (!value || !result) return;
      result.type = value.type;
      copies.set(value, result);
    });
  }
  return copy;
}
