// Where a new value may be written over the old one. In: a training step and its tokens. Out: the values all of
// whose readers are ancestors of the node that makes their successor. Invariant: an executor that respects data
// dependencies can then never read the new value where the old was meant. Linear in the size of the graph.

import type { Graph, Node, Value } from '../ir/index.js';

export interface Aliasing {
  readonly old: Value;
  readonly next: Value;
}

const usersOf = (node: Node): Node[] => node.outputs.flatMap((value) => value?.users ?? []);

/** The first of the gates that each node is an ancestor of (not counting itself); absent: of none. */
function firstGates(graph: Graph, gates: ReadonlyMap<Node, number>): Map<Node, number> {
  const first = new Map<Node, number>();
  for (const node of [...graph.nodes].reverse()) {
    let best = Infinity;
    for (const user of usersOf(node))
      best = Math.min(best, gates.get(user) ?? Infinity, first.get(user) ?? Infinity);
    if (best < Infinity) first.set(node, best);
  }
  return first;
}

/**
 * Ancestors of `target` and the last gate among them (−1: none). Stops at gates and at the forward pass, which is
 * before every gate; without gates nothing is left out.
 */
function behind(
  target: Node,
  gates: ReadonlyMap<Node, number>,
): { nodes: Set<Node>; gate: number } {
  const nodes = new Set([target]);
  let gate = -1;
  for (const node of nodes)
    for (const value of node.inputs) {
      const producer = value?.producer;
      if (!producer) continue;
      const own = gates.get(producer);
      if (own !== undefined) gate = Math.max(gate, own);
      else if (producer.phase !== 'forward' || gates.size === 0) nodes.add(producer);
    }
  return { nodes, gate };
}

/**
 * @param tokens of the backward pass in the order they become available; each must depend on the one before, so
 * that a node which one of them waits for is waited for by all later ones too
 */
export function safeInPlace(
  graph: Graph,
  pairs: readonly Aliasing[],
  tokens: readonly Value[] = [],
): Set<Value> {
  const gates = new Map<Node, number>();
  for (const { producer } of tokens)
    if (producer && graph.has(producer)) gates.set(producer, gates.size);
  const first = firstGates(graph, gates);
  const chained = [...gates].every(
    ([gate, index]) => index === gates.size - 1 || first.get(gate) === index + 1,
  );
  const safe = new Set<Value>();
  for (const { old, next } of pairs) {
    if (!next.producer) continue;
    const { nodes, gate } = behind(next.producer, gates);
    const waitsFor = (reader: Node): boolean =>
      nodes.has(reader) || (chained && (first.get(reader) ?? Infinity) <= gate);
    if (old.users.every(waitsFor)) safe.add(old);
  }
  return safe;
}
