// Where a new value may be written over the old one. In: a training step. Out: for each pair, whether every node
// that reads the old value is an ancestor of the node that makes the new one. Invariant: an executor that
// respects data dependencies can then never read the new value where the old was meant.

import type { Graph, Node, Value } from '../ir/index.js';

export interface Aliasing {
  readonly old: Value;
  readonly next: Value;
}

/**
 * All pairs at once: walks the graph in reverse for each distinct token would be quadratic, so the ancestors
 * are found once per group of readers, from the reader forward with an early stop.
 */
export function safeInPlace(graph: Graph, pairs: readonly Aliasing[]): Set<Value> {
  const position = new Map<Node, number>();
  for (const node of graph.nodes) position.set(node, position.size);
  const at = (node: Node): number => position.get(node) ?? 0;

  /** Whether `target` is reachable from `from` along uses; only nodes before the target can lie between. */
  const reaches = (from: Node, target: Node): boolean => {
    const limit = at(target);
    const seen = new Set<Node>([from]);
    const stack = [from];
    for (let node = stack.pop(); node; node = stack.pop()) {
      if (node === target) return true;
      // Later nodes first: the way to an update leads through the backward pass.
      const next: Node[] = [];
      for (const value of node.outputs)
        for (const user of value?.users ?? [])
          if (!seen.has(user) && at(user) <= limit) {
            seen.add(user);
            next.push(user);
          }
      next.sort((a, b) => at(a) - at(b));
      stack.push(...next);
    }
    return false;
  };
  const safe = new Set<Value>();
  for (const { old, next } of pairs) {
    const target = next.producer;
    if (target && old.users.every((reader) => reaches(reader, target))) safe.add(old);
  }
  return safe;
}
