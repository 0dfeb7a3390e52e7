// How an abstract step becomes ai.onnx nodes, per target. In: a node of our own domain (or an ONNX operator
// that a target cannot run). Out: values that replace its outputs. Invariant: a lowering computes exactly
// what the definition's `evaluate` computes, up to rounding.

import { invariant } from '../diagnostics/index.js';
import { isStatic } from '../ir/index.js';
import type { Attributes, Graph, Node, Value } from '../ir/index.js';
import { Builder, REVNETIFY } from '../ops/index.js';

/** cpu: the forms that are fast on ONNX Runtime's CPU kernels. portable: primitives that run everywhere. */
export type Target = 'cpu' | 'portable';

export interface LowerContext {
  readonly node: Node;
  readonly attributes: Attributes;
  /** Makes nodes in the phase and under the name of the node being lowered. */
  readonly b: Builder;
  input(index: number): Value;
  has(index: number): boolean;
  /** Static shape of an operand. */
  shape(index: number): readonly number[];
  /** Static shape of an output. */
  outputShape(index?: number): readonly number[];
  /** Whether anything reads this output. */
  reads(index: number): boolean;
}

/** Returns one value per output of the node; undefined for outputs nobody reads. */
export type LowerRule = (ctx: LowerContext) => (Value | undefined)[];

export interface Lowering {
  readonly type: string;
  /** Default: our own domain. */
  readonly domain?: string;
  readonly rules: Partial<Record<Target, LowerRule>>;
}

export const defineLowering = (lowering: Lowering): Lowering => lowering;

const table = new Map<string, Lowering>();

export function registerLowerings(family: readonly Lowering[]): void {
  for (const lowering of family)
    table.set(`${lowering.domain ?? REVNETIFY}::${lowering.type}`, lowering);
}

export const findLowering = (node: Node, target: Target): LowerRule | undefined =>
  table.get(`${node.domain}::${node.op}`)?.rules[target];

const staticShape = (value: Value): readonly number[] => {
  invariant(isStatic(value.shape), `${value.name} has no static shape`);
  return value.shape;
};

/** Replaces one node by its lowering. Its outputs stay the same values, computed another way. */
export function applyLowering(graph: Graph, node: Node, rule: LowerRule, shared: Builder): void {
  const b = shared.within({
    phase: node.phase,
    path: node.name,
    origin: node.origin,
    unit: node.unit,
  });
  const results = rule({
    node,
    attributes: node.attributes,
    b,
    input: (index) => node.input(index),
    has: (index) => node.inputs[index] !== undefined,
    shape: (index) => staticShape(node.input(index)),
    outputShape: (index = 0) => staticShape(node.output(index)),
    reads: (index) => {
      const value = node.outputs[index];
      return value !== undefined && (value.isUsed || graph.outputs.includes(value));
    },
  });
  const operands = new Set(node.inputs);
  [...node.outputs].forEach((value, index) => {
    const result = results[index];
    if (!value || !result) return;
    // A result that is an operand or a constant has another name already: readers are pointed to it.
    if (operands.has(result) || !result.producer) graph.replaceValue(value, result);
    else graph.adopt(value, result);
  });
  graph.removeNode(node);
}
