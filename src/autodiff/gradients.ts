// Gradients by value, and the rule that moves them backward through a list of nodes. In: forward nodes, where
// to read their values in the backward pass, gradients of what they produce. Out: gradients of what they read.
// Invariant: a value's gradient is complete before a node that produces the value is differentiated.

import { DiagnosticError, invariant } from '../diagnostics/index.js';
import { isFloat } from '../ir/index.js';
import type { Graph, Node, Value } from '../ir/index.js';
import { findOp } from '../ops/index.js';
import type { Builder } from '../ops/index.js';

/** Gradient of the loss by each forward value, accumulated as contributions arrive. */
export class Gradients {
  private readonly byValue = new Map<Value, Value>();
  /** Values whose gradient changed since the last call of takeChanged. */
  private readonly changed = new Set<Value>();

  get(value: Value): Value | undefined {
    return this.byValue.get(value);
  }

  add(value: Value, gradient: Value, b: Builder): void {
    const present = this.byValue.get(value);
    const total = present ? b.op('Add', [present, gradient], { name: 'accumulate' }) : gradient;
    this.byValue.set(value, total);
    this.changed.add(value);
  }

  /** Reads the gradients of these values through `view` from here on. */
  look(values: Iterable<Value>, view: (gradient: Value) => Value): void {
    for (const value of values) {
      const gradient = this.byValue.get(value);
      if (gradient) this.byValue.set(value, view(gradient));
    }
  }

  /** A gradient that has been used up: its memory may go. */
  drop(value: Value): void {
    this.byValue.delete(value);
    this.changed.delete(value);
  }

  /** The gradients that arrived since last asked: the results of one unit. */
  takeChanged(): Value[] {
    const values = [...this.changed].map((v) => this.byValue.get(v)).filter((v) => v !== undefined);
    this.changed.clear();
    return values;
  }
}

/** Values the loss's gradient is wanted for: the given weights and every float value computed from one. */
export function requiresGradient(graph: Graph, weights: ReadonlySet<Value>): Set<Value> {
  const wanted = new Set(weights);
  for (const node of graph.nodes) {
    if (findOp(node)?.nonDifferentiable === true) continue;
    if (!node.inputs.some((v) => v && wanted.has(v))) continue;
    for (const value of node.outputs)
      if (value?.type === undefined || isFloat(value.type.dtype)) if (value) wanted.add(value);
  }
  return wanted;
}

/**
 * Moves gradients backward through `nodes` (topological order).
 * @param twin where the backward pass reads a forward value: itself, its recomputed or reconstructed twin
 * @throws DiagnosticError op/no-gradient
 */
export function differentiate(
  nodes: readonly Node[],
  twin: (value: Value) => Value,
  wanted: ReadonlySet<Value>,
  gradients: Gradients,
  b: Builder,
): void {
  for (const node of [...nodes].reverse()) {
    const reached = node.outputs.some((v) => v && gradients.get(v) && wanted.has(v));
    if (!reached) continue;
    const definition = findOp(node);
    if (!definition?.gradient)
      throw new DiagnosticError(
        'op/no-gradient',
        `node ${node.name}`,
        `${node.domain || 'ai.onnx'}.${node.op} lies between the loss and ${firstWanted(node, wanted)}`,
      );
    const contributions = definition.gradient({
      node,
      attributes: node.attributes,
      b: b.within({
        path: `${b.scope.path}/${lastPart(node.name)}`,
        origin: node.origin ?? node.name,
      }),
      input: (index) => twin(node.input(index)),
      has: (index) => node.inputs[index] !== undefined,
      output: (index = 0) => twin(node.output(index)),
      grad: (index = 0) => {
        const gradient = gradients.get(node.output(index));
        invariant(gradient, `no gradient has reached output ${index} of ${node.name}`);
        return gradient;
      },
      hasGrad: (index) => {
        const value = node.outputs[index];
        return value !== undefined && gradients.get(value) !== undefined;
      },
      wants: (index) => {
        const value = node.inputs[index];
        return value !== undefined && wanted.has(value);
      },
    });
    for (const value of node.outputs) if (value) gradients.drop(value);
    contributions.forEach((gradient, index) => {
      const value = node.inputs[index];
      if (gradient && value && wanted.has(value)) gradients.add(value, gradient, b);
    });
  }
}

const lastPart = (name: string): string => {
  const parts = name.split('/').filter((p) => p !== '');
  return parts.at(-1) ?? name;
};

const firstWanted = (node: Node, wanted: ReadonlySet<Value>): string =>
  node.inputs.find((v) => v && wanted.has(v))?.name ?? 'the weights';
