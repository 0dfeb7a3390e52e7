// Equal nodes made one. In: a sorted graph. Out: the same with one node for all of an operator, its attributes and its
// operands. Invariant: ONNX Runtime does the same when it loads a file (common subexpression elimination), so a step is
// ordered and its memory planned as it will be run. Nodes that compute results of the graph stay.

import type { Attribute, Graph, Node, Value } from '../ir/index.js';

const PLAIN: readonly Attribute['kind'][] = ['int', 'float', 'string', 'ints', 'floats', 'strings'];
const RANDOM = /^(Random|Bernoulli|Multinomial|Dropout)/;

/** @returns how many nodes went */
export function mergeEqualNodes(graph: Graph): number {
  const numbers = new Map<Value, number>();
  const numberOf = (value: Value | undefined): number | string => {
    if (!value) return '';
    const known = numbers.get(value) ?? numbers.size;
    numbers.set(value, known);
    return known;
  };
  const results = new Set(graph.outputs);
  const first = new Map<string, Node>();
  let merged = 0;
  for (const node of [...graph.nodes]) {
    const attributes = plainAttributes(node);
    if (attributes === undefined || node.outputs.some((value) => value && results.has(value)))
      continue;
    const outputs = node.outputs.map((value) => (value ? 1 : 0));
    const key = [
      node.domain,
      node.op,
      attributes,
      ...outputs,
      ':',
      ...node.inputs.map(numberOf),
    ].join();
    const twin = first.get(key);
    if (!twin) {
      first.set(key, node);
      continue;
    }
    node.outputs.forEach((value, index) => {
      const same = twin.outputs[index];
      if (value && same) graph.replaceUses(value, same);
    });
    graph.removeNode(node);
    merged++;
  }
  return merged;
}

/** undefined: two nodes may differ although their attributes look alike. */
function plainAttributes(node: Node): string | undefined {
  if (RANDOM.test(node.op) || node.captures.length > 0) return undefined;
  if (node.attributes.size === 0) return '';
  const entries = [...node.attributes.entries()].sort(([a], [b]) => (a < b ? -1 : 1));
  return entries.every(([, { kind }]) => PLAIN.includes(kind))
    ? JSON.stringify(entries)
    : undefined;
}
