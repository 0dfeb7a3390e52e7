// The order in which ONNX Runtime runs the nodes of a graph. In: a graph as its file has it, perhaps with what the executor's
// own rewrites make of it. Out: its nodes in order. Invariant: compiler and runtime read the same order off the same graph.

import type { Graph } from './graph.js';
import { number } from './node.js';
import type { Node, Value } from './node.js';

/** Whether nobody reads what it computes. */
export const isLeaf = (node: Node): boolean => node.outputs.every((v) => !v?.isUsed);

/** A graph as an executor runs it after its own rewrites. */
export interface RunView {
  inputs(node: Node): readonly (Value | undefined)[];
  /** Whether the node was put in place of another: it then stands behind all others. */
  isNew(node: Node): boolean;
  /** Whether the node is not run at all. */
  isGone(node: Node): boolean;
}

export const AS_IT_IS: RunView = {
  inputs: (node) => node.inputs,
  isNew: () => false,
  isGone: () => false,
};

/** How far the search is with a node. */
const [NEW, OPEN, DONE] = [0, 1, 2];

/** ONNX Runtime's default: a depth-first search from the nodes nobody reads, the last in the file first. */
export function executionOrder(graph: Graph, view: RunView = AS_IT_IS): Node[] {
  const nodes = [...graph.nodes];
  const made = nodes.filter((node) => view.isNew(node));
  const visits = new Uint8Array(
    number(made.length === 0 ? nodes : [...nodes.filter((node) => !view.isNew(node)), ...made]),
  );
  const stack = nodes.filter(isLeaf);
  const order: Node[] = [];
  for (let node = stack.at(-1); node; node = stack.at(-1)) {
    const { place } = node;
    if (visits[place] === NEW) {
      visits[place] = OPEN;
      const producers: Node[] = [];
      for (const value of view.inputs(node)) {
        const producer = value?.producer;
        if (producer && visits[producer.place] === NEW && !producers.includes(producer))
          producers.push(producer);
      }
      if (producers.length > 1) producers.sort((a, b) => a.place - b.place);
      for (const producer of producers) stack.push(producer);
      if (producers.length > 0) continue;
    }
    stack.pop();
    if (visits[place] === DONE) continue;
    visits[place] = DONE;
    order.push(node);
  }
  return order;
}
