// Who reads a value as data. In: a value. Out: its readers, those that only ask for its shape left out.

import type { Graph, Node, Value } from '../ir/index.js';
import type { ResidualBlock } from './residual.js';

const SHAPE_READERS = new Set(['Shape', 'Size']);

/** Readers of the value as data; undefined when it is also a graph output. */
export function dataReaders(graph: Graph, value: Value): Node[] | undefined {
  if (graph.outputs.includes(value)) return undefined;
  return value.users.filter((user) => !SHAPE_READERS.has(user.op));
}

export const belongsTo = (node: Node, block: ResidualBlock): boolean =>
  node === block.add || block.branch.includes(node) || block.shortcut.includes(node);
