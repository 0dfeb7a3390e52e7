// Where a new value may be written over the old one. In: a training step and its tokens. Out: the values all of
// whose readers are ancestors of the node that makes their successor. Invariant: an executor that respects data
// dependencies can then never read the new value where the old was meant. Linear in the size of the graph.

import type { Graph, Node, Value } from '../ir/index.js';
import { isView } from '../memory/index.js';

export interface Aliasing {
  readonly old: Value;
  readonly next: Value;
}

/** The nodes that read a value's memory: through views of it as well. */
function* readersOf(value: Value): Generator<Node> {
  for (const reader of value.users) {
    yield reader;
    if (isView(reader) && reader.inputs[0] === value) yield* readersOf(reader.output());
  }
}

/** The first of the gates that each node is an ancestor of (not counting itself); absent: of none. */
function firstGates(graph: Graph, gates: ReadonlyMap<Node, number>): Map<Node, number> {
  const first = new Map<Node, number>();
  for (const node of [...graph.nodes].reverse()) {
    let best = Infinity;
    for (const value of node.outputs)
      value?.forEachUse(({ node: user }) => {
        best = Math.min(best, gates.get(user) ?? Infinity, first.get(user) ?? Infinity);
      });
    if (best < Infinity) first.set(node, best);
  }
  return first;
}

/** The last of the gates among the ancestors of each node; absent: none. */
function lastGates(graph: Graph, gates: ReadonlyMap<Node, number>): Map<Node, number> {
  const last = new Map<Node, number>();
  for (const node of graph.nodes) {
    let best = -1;
    for (const value of node.inputs)
      if (value?.producer)
        best = Math.max(best, gates.get(value.producer) ?? last.get(value.producer) ?? -1);
    if (best >= 0) last.set(node, best);
  }
  return last;
}

/** `target` and those of its ancestors that are not skipped, nor have a skipped one between them and it. */
function behind(target: Node, skipped: (node: Node) => boolean): Set<Node> {
  const nodes = new Set([target]);
  for (const node of nodes)
    for (const value of node.inputs)
      if (value?.producer && !skipped(value.producer)) nodes.add(value.producer);
  return nodes;
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
  const last = lastGates(graph, gates);
  const safe = new Set<Value>();
  for (const { old, next } of pairs) {
    if (!next.producer) continue;
    const gate = chained ? (last.get(next.producer) ?? -1) : -1;
    // Ancestors of the gate are waited for, and so is all that comes before them.
    const covered = (node: Node): boolean =>
      (first.get(node) ?? Infinity) <= gate || gates.get(node) === gate;
    // Nor is the forward pass looked through: what reads an old value there is covered, or it is not safe.
    const skipped = (node: Node): boolean =>
      covered(node) || (gates.size > 0 && node.phase === 'forward');
    const nodes = behind(next.producer, skipped);
    let isSafe = true;
    for (const reader of readersOf(old)) isSafe &&= nodes.has(reader) || covered(reader);
    if (isSafe) safe.add(old);
  }
  return safe;
}
