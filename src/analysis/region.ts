// The nodes between two values. In: an end value and the values to stop at. Out: the nodes that compute the
// end from them. Invariant: nodes come in topological order (producers first).

import type { Node, Value } from '../ir/index.js';

/** Nodes that compute `ends` from `stops`, constants and graph inputs; empty if every end is a stop. */
export function regionBetween(ends: Iterable<Value>, stops: ReadonlySet<Value>): Node[] {
  const order: Node[] = [];
  const seen = new Set<Node>();
  const visit = (root: Node): void => {
    const stack: { node: Node; next: number }[] = [{ node: root, next: 0 }];
    seen.add(root);
    for (let top = stack.at(-1); top; top = stack.at(-1)) {
      const operands = top.node.reads;
      if (top.next >= operands.length) {
        order.push(top.node);
        stack.pop();
        continue;
      }
      const value = operands[top.next++];
      if (!value || stops.has(value)) continue;
      const producer = value.producer;
      if (producer && !seen.has(producer)) {
        seen.add(producer);
        stack.push({ node: producer, next: 0 });
      }
    }
  };
  for (const end of ends)
    if (!stops.has(end) && end.producer && !seen.has(end.producer)) visit(end.producer);
  return order;
}
