// Cuts a stretch of the network that cannot be reversed into parts that are recomputed one after the other. In: its
// nodes, the largest interior there is anyway. Out: the parts. Invariant: a cut is made only where it makes the peak
// smaller: what lies across it has to be stored instead (Chen et al. 2016, "Training deep nets with sublinear memory
// cost", section 4, with tensors counted at their size).

import { ELEMENT_BYTES, elementCount, isStatic } from '../ir/index.js';
import type { Node, Value } from '../ir/index.js';

/** Bytes of a value; 0 while its shape is not known. */
const bytesOf = ({ type }: Value): number =>
  type && isStatic(type.shape) ? elementCount(type.shape) * ELEMENT_BYTES[type.dtype] : 0;

/** Bytes of everything that these nodes compute. */
export const interiorBytes = (nodes: Iterable<Node>): number => {
  let sum = 0;
  for (const node of nodes)
    for (const value of node.outputs) if (value?.isUsed === true) sum += bytesOf(value);
  return sum;
};

/** Limits of a part's interior are tried from the whole downwards in these steps, to this share of it. */
const STEP = 0.9;
const LEAST_SHARE = 1 / 32;
/** A cut must promise this much: not all of an interior is there at once, and what is stored lies under every peak. */
const WORTHWHILE = 0.7;

interface Cutting {
  readonly parts: readonly Node[][];
  /** Stored at the cuts, and the largest interior between them. */
  readonly peak: number;
}

/**
 * @param nodes in topological order
 * @param floor bytes of the largest interior elsewhere: parts need not be smaller
 */
export function cutStretch(nodes: readonly Node[], floor: number): readonly Node[][] {
  const total = interiorBytes(nodes);
  if (nodes.length < 2 || total <= floor) return nodes.length > 0 ? [[...nodes]] : [];
  const crossing = crossings(nodes);
  let best: Cutting = { parts: [[...nodes]], peak: total };
  for (let limit = total * STEP; limit > total * LEAST_SHARE; limit *= STEP) {
    const found = cheapest(nodes, crossing, Math.max(limit, floor), floor);
    if (found.peak < best.peak) best = found;
    if (limit <= floor) break;
  }
  return best.peak <= WORTHWHILE * total ? best.parts : [[...nodes]];
}

/** Bytes that lie across the gap behind each node: made before it, read behind it. */
function crossings(nodes: readonly Node[]): number[] {
  const position = new Map(nodes.map((node, index) => [node, index]));
  const changes = new Array<number>(nodes.length + 1).fill(0);
  nodes.forEach((node, index) => {
    for (const value of node.outputs) {
      if (!value) continue;
      let last = index;
      for (const user of value.users) last = Math.max(last, position.get(user) ?? index);
      changes[index] = (changes[index] ?? 0) + bytesOf(value);
      changes[last] = (changes[last] ?? 0) - bytesOf(value);
    }
  });
  let sum = 0;
  return changes.slice(0, nodes.length).map((change) => (sum += change));
}

/** The cuts with the least bytes across them such that no part's interior exceeds the limit; a shortest path. */
function cheapest(
  nodes: readonly Node[],
  crossing: readonly number[],
  limit: number,
  floor: number,
): Cutting {
  const before = [0];
  for (const node of nodes) before.push((before.at(-1) ?? 0) + interiorBytes([node]));
  const size = (from: number, to: number): number => (before[to] ?? 0) - (before[from] ?? 0);
  const cost = [0];
  const previous = [0];
  for (let to = 1; to <= nodes.length; to++) {
    let [least, from] = [Infinity, to - 1];
    // A node larger than the limit is a part of its own.
    for (let start = to - 1; start >= 0 && (start === to - 1 || size(start, to) <= limit); start--)
      if ((cost[start] ?? Infinity) < least) [least, from] = [cost[start] ?? Infinity, start];
    const here = to === nodes.length ? 0 : (crossing[to - 1] ?? 0);
    cost.push(least + here);
    previous.push(from);
  }
  const bounds = [nodes.length];
  for (let at = nodes.length; at > 0;) bounds.unshift((at = previous[at] ?? 0));
  const parts = bounds.slice(1).map((to, index) => nodes.slice(bounds[index], to));
  const largest = Math.max(floor, ...parts.map(interiorBytes));
  return { parts, peak: largest + (cost[nodes.length] ?? Infinity) };
}
