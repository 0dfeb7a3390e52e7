// Pass simplify-shapes: targets of Reshape and Expand say no more than they must. In: a typed graph, in which exporters
// compute targets from Shape nodes. Out: constants, with 0 (keep), -1 (the rest) or 1 (repeat nothing) where an extent
// was computed or repeated. Invariant: every shape stays what it was, for any batch size; a width that changes later
// is not spelled where it need not be.

import { inferTypes } from '../src/analysis/index.js';
import { InlineData, Tensor, int } from '../src/ir/index.js';
import type { Dim, Graph, Node, Value } from '../src/ir/index.js';
import { Builder } from '../src/ops/index.js';
import type { Contents } from '../src/ops/index.js';
import { definePass } from './state.js';

const contentOf = (value: Value, contents: Contents): readonly Dim[] | undefined =>
  value.constant?.dtype === 'int64' ? value.constant.load().toArray() : contents.get(value);

/** A Reshape target in plain numbers; undefined where two extents are not known. */
function plainTarget(node: Node, content: readonly Dim[]): number[] | undefined {
  const from = node.input(0).shape;
  if (!from || content.includes(0) || node.attributes.int('allowzero', 0) !== 0) return undefined;
  let open = 0;
  const target = content.map((extent, axis) => {
    if (typeof extent === 'number' && extent > 0) return extent;
    if (extent !== -1 && extent === from[axis]) return 0;
    open++;
    return -1;
  });
  return open <= 1 ? target : undefined;
}

function simplifyReshape(graph: Graph, node: Node, contents: Contents): void {
  const old = node.input(1);
  if (old.constant) return;
  const content = contentOf(old, contents);
  const target = content && plainTarget(node, content);
  if (target)
    node.setInput(1, graph.addConstant(`${old.name}.plain`, new InlineData(Tensor.ints(target))));
}

/** What the operand has already is not asked for again: 1 instead of the extent. */
function simplifyExpand(graph: Graph, node: Node, contents: Contents): void {
  const old = node.input(1);
  const from = node.input(0).shape;
  const content = contentOf(old, contents);
  if (!from || !content) return;
  const kept = content.map((extent, axis) => {
    const own = from[axis - content.length + from.length];
    return extent !== 1 && extent === own;
  });
  if (!kept.includes(true)) return;
  const b = new Builder(graph, { phase: 'forward', path: `${node.name}/shape` });
  const parts = content.map((extent, axis) => {
    if (kept[axis] === true) return b.ints(1);
    if (typeof extent === 'number') return b.ints(extent);
    return b.op('Slice', [old, b.ints(axis), b.ints(axis + 1)]);
  });
  const plain = content.map((extent, axis) => (kept[axis] === true ? 1 : extent));
  const target = plain.every((extent) => typeof extent === 'number')
    ? b.ints(...plain)
    : b.op('Concat', parts, { attributes: { axis: int(0) } });
  node.setInput(1, target);
}

export const simplifyShapes = definePass({
  name: 'simplify-shapes',
  summary: 'write the targets of Reshape and Expand as constants where that is possible',
  run: ({ model: { graph } }) => {
    graph.sort();
    const { contents } = inferTypes(graph);
    for (const node of [...graph.nodes]) {
      if (node.domain !== '') continue;
      if (node.op === 'Reshape') simplifyReshape(graph, node, contents);
      if (node.op === 'Expand') simplifyExpand(graph, node, contents);
    }
    graph.removeDead();
    graph.sort();
  },
});
