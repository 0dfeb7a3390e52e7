// The data-dependency token between two units of the backward pass. In: every result of one unit. Out: a
// float scalar that is always 0 but cannot be known before all of them are there. Invariant: 0 even when a
// result is infinite or NaN (0·x would not be), so one bad block does not spoil the next.

import { invariant } from '../diagnostics/index.js';
import { Tensor, int } from '../ir/index.js';
import type { Graph, Value } from '../ir/index.js';
import type { Builder } from '../ops/index.js';

const ONNX_FLOAT = 1;

/**
 * How the elements come together: each as a tensor of shape [1], which GPUs can join too; or as they are, broadcast over each
 * other, which takes fewer nodes and says nothing of ranks.
 */
export type ProbeForm = 'joined' | 'broadcast';

/**
 * One element of each result → their maximum → (maximum > +∞) → 0.0.
 * @param results in the order they shall be computed: ONNX Runtime visits the operand that stands last in the
 * file first, so the probes are made in the opposite order. Otherwise it would follow the stream's gradient to
 * the end of the unit and only then compute the weight gradients, with every interior still alive.
 */
export function makeToken(
  results: readonly Value[],
  b: Builder,
  form: ProbeForm = 'joined',
): Value {
  // What a unit rebuilt comes first of all: the value of its function is needed no longer then.
  const isRebuilt = (value: Value): boolean => value.producer?.phase === 'recompute';
  const wanted = [...results.filter(isRebuilt), ...results.filter((v) => !isRebuilt(v))];
  const all = join(wanted.reverse(), b, form);
  const most = b.op('ReduceMax', [all], { attributes: { keepdims: int(0) }, name: 'most' });
  const beyond = b.op('Greater', [most, b.constant(Tensor.scalar(Infinity))], { name: 'beyond' });
  return b.op('Cast', [beyond], { attributes: { to: int(ONNX_FLOAT) }, name: 'token' });
}

function join(results: readonly Value[], b: Builder, form: ProbeForm): Value {
  const probes = PROBES[form](results, b);
  const [first] = probes;
  invariant(first, 'a token needs a result to wait for');
  if (form === 'broadcast') return b.op('Max', probes, { name: 'probes' });
  if (probes.length === 1) return first;
  return b.op('Concat', probes, { attributes: { axis: int(0) }, name: 'probes' });
}

/** Lets a token that makeToken() made wait for more; one that was made of a single result in 'joined' form cannot. */
export function joinToken(token: Value, results: readonly Value[], b: Builder): void {
  const beyond = token.producer?.inputs[0];
  const most = beyond?.producer?.inputs[0];
  const joint = most?.producer?.inputs[0]?.producer;
  if (joint?.op !== 'Max' && joint?.op !== 'Concat') return;
  const form = joint.op === 'Max' ? 'broadcast' : 'joined';
  for (const probe of PROBES[form](results, b)) joint.addInput(probe);
}

const PROBES: Readonly<Record<ProbeForm, (results: readonly Value[], b: Builder) => Value[]>> = {
  joined: (results, b) =>
    results.map((value) => {
      const element = corner(value, b);
      const isRow = value.shape?.length === 1;
      return isRow ? element : b.op('Reshape', [element, b.ints(1)], { name: 'probe' });
    }),
  broadcast: corners,
};

/**
 * First elements, one for all vectors of a length together (the gradients of a batch norm, which are made on the way to its
 * input's): it comes first, to be visited last.
 */
function corners(results: readonly Value[], b: Builder): Value[] {
  const vectors = new Map<number, Value[]>();
  const rest: Value[] = [];
  for (const value of results) {
    const [length, ...more] = value.shape ?? [];
    if (typeof length !== 'number' || more.length > 0) rest.push(value);
    else if (!vectors.get(length)?.push(value)) vectors.set(length, [value]);
  }
  const sums = [...vectors.values()].map((group) => {
    const [only] = group;
    return group.length === 1 && only ? only : b.op('Sum', group, { name: 'vectors' });
  });
  return [...sums, ...rest].map((value) => corner(value, b));
}

/** The first element; every extent is 1. */
function corner(value: Value, b: Builder): Value {
  const zeros = Array.from({ length: value.shape?.length ?? 0 }, () => 0);
  if (zeros.length === 0) return value;
  const ones = zeros.map(() => 1);
  const axes = zeros.map((_, i) => i);
  return b.op('Slice', [value, b.ints(...zeros), b.ints(...ones), b.ints(...axes)], {
    name: 'corner',
  });
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
