// The gradient of one node as a graph of its own, for tests that compare it with something. In: an operator and operands.
// Out: what its rule builds, and the random cotangents it was given.

import { isFloat } from '../../src/ir/index.js';
import type { Tensor, Value } from '../../src/ir/index.js';
import { Builder, Random, interpret } from '../../src/ops/index.js';
import type { GradientContext, OpDefinition, OpSample } from '../../src/ops/index.js';
import { singleNode } from './support.js';

/** Operators whose every output carries a gradient; elsewhere only output 0 does. */
const ALL_OUTPUTS = new Set(['Split']);

interface GradientGraph {
  readonly results: readonly (Value | undefined)[];
  readonly grads: ReadonlyMap<number, Tensor>;
  readonly run: (wanted: readonly Value[]) => Map<Value, Tensor>;
}

/** The node, a random cotangent per output, and the gradient its rule builds. */
export function gradientGraph(
  op: OpDefinition,
  sample: OpSample,
  wants: (index: number) => boolean,
): GradientGraph {
  const { graph, node, feeds } = singleNode(op, sample);
  const random = new Random(99);
  const grads = new Map<number, Tensor>();
  const cotangents = new Map<number, Value>();
  node.outputs.forEach((value, i) => {
    if (!value?.type || !isFloat(value.type.dtype)) return;
    if (i > 0 && !ALL_OUTPUTS.has(op.type)) return;
    const tensor = random.tensor(value.type.shape as readonly number[], 1, 0, value.type.dtype);
    const cotangent = graph.addInput(`grad${i}`, value.type);
    feeds.set(cotangent, tensor);
    grads.set(i, tensor);
    cotangents.set(i, cotangent);
  });
  const defined = <T>(value: T | undefined): T => {
    if (value === undefined) throw new Error('the rule reads what is not there');
    return value;
  };
  const ctx: GradientContext = {
    node,
    attributes: node.attributes,
    b: new Builder(graph, { phase: 'backward', path: 'backward' }),
    input: (i) => node.input(i),
    has: (i) => node.inputs[i] !== undefined,
    output: (i = 0) => node.output(i),
    grad: (i = 0) => defined(cotangents.get(i)),
    hasGrad: (i) => cotangents.has(i),
    wants,
  };
  const results = op.gradient?.(ctx) ?? [];
  return {
    results,
    grads,
    run: (wanted) => {
      graph.sort();
      return interpret(graph, feeds, { keep: new Set(wanted) });
    },
  };
}
