// The data-dependency token between two units of the backward pass. In: every result of one unit. Out: a
// float scalar that is always 0 but cannot be known before all of them are there. Invariant: 0 even when a
// result is infinite or NaN (0·x would not be), so one bad block does not spoil the next.

import { invariant } from '../diagnostics/index.js';
import { Tensor, int } from '../ir/index.js';
import type { Graph, Value } from '../ir/index.js';
import type { Builder } from '../ops/index.js';

const ONNX_FLOAT = 1;

/**
 * One element of each result → their maximum → (maximum > +∞) → 0.0.
 * @param results in the order they shall be computed: ONNX Runtime visits the operand that stands last in the
 * file first, so the probes are made in the opposite order. Otherwise it would follow the stream's gradient to
 * the end of the unit and only then compute the weight gradients, with every interior still alive.
 */
export function makeToken(results: readonly Value[], b: Builder): Value {
  // What a unit rebuilt comes first of all: the value of its function is needed no longer then.
  const isRebuilt = (value: Value): boolean => value.producer?.phase === 'recompute';
  const wanted = [...results.filter(isRebuilt), ...results.filter((v) => !isRebuilt(v))];
  const probes = wanted.reverse().map((value) => probe(value, b));
  const first = probes[0];
  invariant(first, 'a token needs a result to wait for');
  const joined =
    probes.length === 1
      ? first
      : b.op('Concat', probes, { attributes: { axis: int(0) }, name: 'probes' });
  const most = b.op('ReduceMax', [joined], { attributes: { keepdims: int(0) }, name: 'most' });
  const beyond = b.op('Greater', [most, b.constant(Tensor.scalar(Infinity))], { name: 'beyond' });
  return b.op('Cast', [beyond], { attributes: { to: int(ONNX_FLOAT) }, name: 'token' });
}

/** Lets a token that makeToken() made of several results wait for one more. */
export function joinToken(token: Value, result: Value, b: Builder): void {
  const beyond = token.producer?.inputs[0];
  const most = beyond?.producer?.inputs[0];
  const concat = most?.producer?.inputs[0]?.producer;
  if (concat?.op === 'Concat') concat.addInput(probe(result, b));
}

/** The first element as a tensor of shape [1]. */
function probe(value: Value, b: Builder): Value {
  const rank = value.shape?.length ?? 0;
  if (rank === 0) return b.op('Reshape', [value, b.ints(1)], { name: 'probe' });
  const zeros = Array.from({ length: rank }, () => 0);
  const ones = zeros.map(() => 1);
  const axes = zeros.map((_, i) => i);
  const corner = b.op('Slice', [value, b.ints(...zeros), b.ints(...ones), b.ints(...axes)], {
    name: 'corner',
  });
  return rank === 1 ? corner : b.op('Reshape', [corner, b.ints(1)], { name: 'probe' });
}

/**
 * Lets probes read in front of a transposition, which does not move the first element: ONNX Runtime would swap the
 * two, and put the transposition of one element behind all other nodes of the file, where it upsets the order.
 * @param graph with every gradient lowered
 */
export function probeOriginals(graph: Graph): void {
  for (const node of graph.nodes) {
    if (node.op !== 'Slice' || node.domain !== '') continue;
    const starts = node.input(1).constant;
    const shape = node.output().shape ?? [];
    const isFirst =
      starts?.dims[0] === shape.length &&
      shape.every((d) => d === 1) &&
      starts.load().data.every((start) => start === 0);
    const { producer } = node.input(0);
    if (isFirst && producer?.op === 'Transpose' && producer.domain === '')
      node.setInput(0, producer.input(0));
  }
}
