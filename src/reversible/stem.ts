// The layers that make the channels of a value. In: a value, its axis of channels. Out: the last operators that mix
// channels on the way to it, and what follows them; or why there are none. Invariant: nothing of a residual block is
// taken along: where paths that start at one value join, there is no stem.

import { isFloat } from '../ir/index.js';
import type { Node, Value } from '../ir/index.js';
import { regionBetween } from '../analysis/index.js';
import type { Dominance } from '../analysis/index.js';
import { axisLinks } from '../ops/index.js';

/**
 * The nodes that make a stem, in topological order; the reason where there is none. A stem of twice the width is two of
 * these side by side, computed one after the other: half the memory of one wide one.
 */
export function stemOf(value: Value, channels: number, dominance: Dominance): Node[] | string {
  const path = new Set<Node>();
  const starts = new Set<Value>();
  const open = [{ at: value, axis: channels }];
  for (let next = open.pop(); next; next = open.pop()) {
    const { at, axis } = next;
    const { producer } = at;
    if (!producer) return `it is made by no layer, ${at.name} is where it comes from`;
    path.add(producer);
    const sources = dominance.dataInputs(producer);
    const [first] = sources;
    const joins = sources.some(
      (other) => first && other !== first && dominance.common(first, other),
    );
    if (!first || joins) return `node ${producer.name} (${producer.op}) joins several values`;
    for (const from of sources) {
      const before = axisBefore(producer, from, axis);
      if (before !== undefined) open.push({ at: from, axis: before });
      else if (mixes(producer, dominance)) starts.add(from);
      else return `node ${producer.name} (${producer.op}) is no layer with weights`;
    }
  }
  // A position table that is added, a class token that is joined: what is made of weights alone is copied along.
  return regionBetween([value], starts).filter(
    (node) =>
      path.has(node) || (isFloatNode(node) && !node.outputs.some((v) => v && dominance.isData(v))),
  );
}

const isFloatNode = (node: Node): boolean => {
  const type = node.outputs[0]?.type;
  return type !== undefined && isFloat(type.dtype);
};

const mixes = (node: Node, dominance: Dominance): boolean =>
  node.inputs.some((v) => v && !dominance.isData(v) && (v.shape?.length ?? 0) >= 2);

/** The axis of the operand that has the channels, where they are those of the result. */
function axisBefore(node: Node, data: Value, axis: number): number | undefined {
  for (const { axes } of axisLinks(node) ?? [])
    if (axes.some((ref) => ref.side === 'out' && ref.index === 0 && ref.axis === axis))
      return axes.find(({ side, index }) => side === 'in' && node.inputs[index] === data)?.axis;
  return undefined;
}
