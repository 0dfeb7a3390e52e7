// Which constants are trained. In: a graph. Out: its weights in the order the forward pass meets them.
// Invariant: decided by what the operators say of their operands, never by names.

import type { Graph, Node, Value } from '../ir/index.js';
import { elementCount } from '../ir/index.js';
import { findOp } from '../ops/index.js';

/** What counts as minus infinity in an additive mask; Swin Transformer writes -100, others the least float. */
const FORBIDDEN = -100;

/** An additive attention mask: 0 where looking is allowed, a large negative number elsewhere. It is not learned. */
function isMask({ constant }: Value): boolean {
  if (!constant || constant.dims.length < 2) return false;
  const { data } = constant.load();
  return data.every((x) => x === 0 || x <= FORBIDDEN) && data.some((x) => x < 0);
}

const isParameter = (node: Node, index: number, value: Value): boolean => {
  if (value.constant?.dtype !== 'float32') return false;
  const { parameters } = findOp(node) ?? {};
  if (parameters === 'any') return elementCount(value.constant.dims) > 1 && !isMask(value);
  return parameters?.includes(index) ?? false;
};

/** @param graph sorted */
export function findParameters(graph: Graph): Value[] {
  const found = new Set<Value>();
  for (const node of graph.nodes)
    node.inputs.forEach((value, index) => {
      if (value && isParameter(node, index, value)) found.add(value);
    });
  return [...found];
}
