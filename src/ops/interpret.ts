// The reference interpreter. In: a graph and its operands. Out: the values asked for, computed in float64 by
// each operator's `evaluate`. Invariant: no float32 rounding anywhere, so that two graphs that are equal
// mathematically agree to about 1e-12: this is where exactness is proved.

import { DiagnosticError, invariant } from '../diagnostics/index.js';
import type { Node, Tensor, Value } from '../ir/index.js';
import { findOp, noDefinition } from './registry.js';

export interface InterpretOptions {
  /** Values to return besides the graph outputs. */
  readonly keep?: ReadonlySet<Value>;
}

/**
 * Runs one node.
 * @param inputs one entry per operand; undefined where it is left out
 * @throws DiagnosticError op/unsupported
 */
export function evaluateNode(node: Node, inputs: readonly (Tensor | undefined)[]): Tensor[] {
  const definition = findOp(node);
  if (!definition)
    throw new DiagnosticError(
      'op/unsupported',
      `node ${node.name} (${node.op})`,
      noDefinition(node),
    );
  return definition.evaluate({
    attributes: node.attributes,
    inputs,
    outputCount: node.outputs.length,
    input: (index) => {
      const tensor = inputs[index];
      invariant(tensor, `node ${node.name} (${node.op}) has no input ${index}`);
      return tensor;
    },
  });
}

/**
 * Runs a graph (or some of its nodes) whose nodes stand in execution order. A feed takes precedence over a constant; values are
 * dropped after their last use.
 * @returns the graph outputs and the values of options.keep
 */
export function interpret(
  graph: { readonly nodes: Iterable<Node>; readonly outputs: readonly Value[] },
  feeds: ReadonlyMap<Value, Tensor>,
  options: InterpretOptions = {},
): Map<Value, Tensor> {
  const wanted = new Set<Value>([...graph.outputs, ...(options.keep ?? [])]);
  const live = new Map<Value, Tensor>();
  const readers = new Map<Value, number>();
  const read = (value: Value, where: string): Tensor => {
    const known = live.get(value) ?? feeds.get(value) ?? value.constant?.load();
    invariant(known, `${where} reads ${value.name}, which is neither computed, fed nor constant`);
    live.set(value, known);
    return known;
  };
  const release = (value: Value): void => {
    const left = (readers.get(value) ?? value.users.length) - 1;
    readers.set(value, left);
    if (left <= 0 && !wanted.has(value)) live.delete(value);
  };
  for (const node of graph.nodes) {
    const where = `node ${node.name} (${node.op})`;
    const results = evaluateNode(
      node,
      node.inputs.map((value) => value && read(value, where)),
    );
    node.outputs.forEach((value, index) => {
      if (!value || (!value.isUsed && !wanted.has(value))) return;
      const result = results[index];
      invariant(result, `${where} did not compute output ${index}`);
      live.set(value, result);
    });
    for (const value of new Set(node.inputs)) if (value) release(value);
  }
  const out = new Map<Value, Tensor>();
  for (const value of wanted) out.set(value, read(value, 'the caller'));
  return out;
}
