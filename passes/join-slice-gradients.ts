// Pass join-slice-gradients: where a tensor was taken apart into slices that cover it, the sum of their gradients is
// their concatenation. Queries, keys and values of a transformer are made by one product: without the pass each of their
// gradients is padded to the size of all three, and the three are added up. Invariant: the value of the sum stays the same.

import { int } from '../src/ir/index.js';
import type { Graph, Node, Value } from '../src/ir/index.js';
import { Builder, REVNETIFY, sliceGradRanges } from '../src/ops/index.js';
import { definePass } from './state.js';

/** A slice's gradient, and where along the only axis that was cut it belongs. */
interface Part {
  readonly gradient: Value;
  readonly axis: number;
  readonly start: number;
  readonly end: number;
}

const isAdd = (node: Node | undefined): node is Node => node?.op === 'Add' && node.domain === '';

/** Whether a sum is but a term of another. */
function isInner(sum: Node): boolean {
  const { useCount, users } = sum.output();
  return useCount === 1 && isAdd(users[0]);
}

/** What a sum adds up. Sums that others read as well are taken as they are. */
function terms(sum: Node): Value[] {
  const found: Value[] = [];
  const stack = [...sum.inputs];
  for (let value = stack.pop(); value; value = stack.pop()) {
    const { producer } = value;
    if (isAdd(producer) && isInner(producer)) stack.push(...producer.inputs);
    else found.push(value);
  }
  return found;
}

function partOf(term: Value): Part | undefined {
  const node = term.producer;
  const isSlice = node?.op === 'SliceGrad' && node.domain === REVNETIFY;
  const extents = term.shape;
  if (!isSlice || term.useCount !== 1 || !extents) return undefined;
  const ranges = sliceGradRanges(node.attributes);
  const cut = ranges.flatMap(({ count }, axis) => (count === extents[axis] ? [] : [axis]));
  const [axis] = cut;
  const range = axis === undefined ? undefined : ranges[axis];
  if (cut.length !== 1 || axis === undefined || !range) return undefined;
  if (ranges.some(({ step, count }) => step !== 1 && count > 1)) return undefined;
  return { gradient: node.input(0), axis, start: range.start, end: range.start + range.count };
}

/** The parts in their order, if they cover their tensor without overlapping. */
function cover(sum: Node): readonly Part[] | undefined {
  const found = terms(sum);
  const parts = found.map(partOf).filter((part) => part !== undefined);
  parts.sort((a, b) => a.start - b.start);
  const [first] = parts;
  if (!first || parts.length < found.length) return undefined;
  const adjoin = parts.every(
    ({ axis, start }, i) => axis === first.axis && start === (parts[i - 1]?.end ?? 0),
  );
  return adjoin && parts.at(-1)?.end === sum.output().shape?.[first.axis] ? parts : undefined;
}

function join(graph: Graph, sum: Node, parts: readonly Part[]): void {
  const { phase, origin, unit } = sum;
  const b = new Builder(graph, { phase, origin, unit, path: sum.name });
  const inputs = parts.map(({ gradient }) => gradient);
  const attributes = { axis: int(parts[0]?.axis ?? 0) };
  graph.adopt(sum.output(), b.op('Concat', inputs, { attributes, name: 'joined' }));
}

export const joinSliceGradients = definePass({
  name: 'join-slice-gradients',
  summary: 'join the gradients of slices that cover a tensor, instead of padding and adding them',
  run: ({ model: { graph } }) => {
    let isChanged = false;
    for (const sum of [...graph.nodes].reverse()) {
      if (!isAdd(sum) || sum.outputs[0] === undefined || isInner(sum)) continue;
      const parts = cover(sum);
      if (!parts) continue;
      join(graph, sum, parts);
      isChanged = true;
    }
    if (!isChanged) return;
    graph.removeDead();
    graph.sort();
  },
});
