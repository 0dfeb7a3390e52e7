// One lowered step against its definition, for the tests of the lowerings.

import { expect } from 'vitest';
import type { Graph, Node, Tensor, Value } from '../../src/ir/index.js';
import { applyLowering, findLowering } from '../../src/lowering/index.js';
import type { Target } from '../../src/lowering/index.js';
import { Builder, Random, evaluateNode, interpret } from '../../src/ops/index.js';
import type { OpDefinition, OpSample } from '../../src/ops/index.js';
import { difference, runOrt, singleNode } from '../ops/support.js';
import type { SingleNode } from '../ops/support.js';

export const TARGETS: readonly Target[] = ['cpu', 'portable'];

export type Lowered = SingleNode & { readonly expected: readonly Tensor[] };

/** Operators that ONNX Runtime's WebGPU provider runs in float32. */
const PORTABLE = new Set([
  ...['Add', 'Sub', 'Mul', 'Div', 'Max', 'Neg', 'Exp', 'Sqrt', 'Equal', 'Greater', 'Less', 'Cast'],
  ...[
    'ReduceSum',
    'ReduceMean',
    'ReduceMax',
    'Log',
    'Reshape',
    'Unsqueeze',
    'Concat',
    'Slice',
    'Pad',
  ],
  ...['Expand', 'MaxPool', 'InstanceNormalization'],
]);

export function lowerNode(graph: Graph, node: Node, target: Target): void {
  const rule = findLowering(node, target);
  if (!rule) throw new Error(`no lowering of ${node.op} for ${target}`);
  applyLowering(graph, node, rule, new Builder(graph, { phase: 'backward', path: 'backward' }));
  graph.sort();
  for (const left of graph.nodes) {
    expect(left.domain).toBe('');
    if (target === 'portable') expect(PORTABLE).toContain(left.op);
  }
}

/** The sample as one node, evaluated by its definition and then lowered. */
export function lowered(op: OpDefinition, sample: OpSample, target: Target): Lowered {
  const single = singleNode(op, sample);
  const expected = evaluateNode(single.node, sample.inputs);
  const types = single.graph.outputs.map((value) => value.type);
  lowerNode(single.graph, single.node, target);
  expect(single.graph.outputs.map((value) => value.type)).toEqual(types);
  return { ...single, expected };
}

export interface Errors {
  /** In the float64 interpreter. */
  readonly double: number;
  /** In ONNX Runtime, float32. */
  readonly single: number;
}

/** Largest relative difference of any output. */
export async function errorsOf(step: Lowered): Promise<Errors> {
  const { graph, expected } = step;
  const feeds: ReadonlyMap<Value, Tensor> = step.feeds;
  const results = interpret(graph, feeds);
  const inOrt = await runOrt(step.model, feeds);
  const worst = (actual: readonly (Tensor | undefined)[]): number =>
    Math.max(
      ...graph.outputs.map((_, i) => {
        const [got, want] = [actual[i], expected[i]];
        if (!got || !want) return NaN;
        expect(got.dims).toEqual(want.dims);
        return difference(got, want);
      }),
    );
  return { double: worst(graph.outputs.map((v) => results.get(v))), single: worst(inOrt) };
}

export type Case = readonly [target: Target, label: string, op: OpDefinition, sample: OpSample];

/** Every sample of the given operators, for both targets. */
export const casesOf = (ops: readonly OpDefinition[]): Case[] =>
  ops.flatMap((op) =>
    (op.samples?.(new Random(21)) ?? []).flatMap((sample) =>
      TARGETS.map((target) => [target, `${op.type}: ${sample.label}`, op, sample] as const),
    ),
  );

/** The operators of these types. */
export const pick = (ops: readonly OpDefinition[], ...types: string[]): OpDefinition[] =>
  types.map((type) => {
    const op = ops.find((o) => o.type === type);
    if (!op) throw new Error(`there is no ${type}`);
    return op;
  });
