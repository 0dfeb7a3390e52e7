// What a change of an operator between opsets may read and do. In: one node, its operands typed as far as
// that is known. Out: the node, and if need be nodes before it, in the form of the working opset. Invariant:
// the node's outputs stay the same values, so their names and readers do.

import { DiagnosticError } from '../../diagnostics/index.js';
import { InlineData, Tensor } from '../../ir/index.js';
import type { Attribute, AttributeMap, DataType, Graph, Node, Value } from '../../ir/index.js';
import { inferContext, inferNode } from '../../ops/index.js';
import type { Contents } from '../../ops/index.js';

/** How one operator changed. */
export interface Change {
  readonly ops: readonly string[];
  /** The opset that changed it: older models are converted up, models from it on down. */
  readonly at: number;
  readonly direction: 'up' | 'down';
  readonly convert: (c: Conversion) => void;
}

/** Models before `at` are converted up. */
export const up = (at: number, ops: readonly string[], convert: Change['convert']): Change => ({
  ops,
  at,
  direction: 'up',
  convert,
});

/** Models from `at` on are converted down. */
export const down = (at: number, ops: readonly string[], convert: Change['convert']): Change => ({
  ops,
  at,
  direction: 'down',
  convert,
});

export class Conversion {
  constructor(
    readonly graph: Graph,
    readonly node: Node,
    /** The opset of the model. */
    readonly opset: number,
    private readonly contents: Contents,
    /** Element type of the model's weights: what a float constant has when its operand is not typed. */
    private readonly floatType: DataType,
  ) {}

  /** Sets attributes, and removes those given as undefined. */
  attributes(changes: Readonly<Record<string, Attribute | undefined>>): void {
    this.node.attributes = this.node.attributes.with(changes);
    this.node.source = undefined;
  }

  /** Known elements of an integer operand. */
  numbers(index: number): readonly number[] | undefined {
    return inferContext(this.node, this.contents).numbers(index);
  }

  has(index: number): boolean {
    return this.node.inputs[index] !== undefined;
  }

  /** Rank of operand 0. */
  get rank(): number | undefined {
    return this.node.inputs[0]?.shape?.length;
  }

  get dtype(): DataType {
    return this.node.inputs[0]?.type?.dtype ?? this.floatType;
  }

  /** A list of integers as operand. */
  ints(index: number, values: readonly number[], what: string): void {
    this.node.setInput(index, this.constant(Tensor.ints(values), what));
  }

  /** A list of float32 numbers as operand. */
  floats(index: number, values: readonly number[], what: string): void {
    this.node.setInput(index, this.constant(Tensor.of('float32', [values.length], values), what));
  }

  /** A scalar as operand, of the element type of operand 0. */
  scalar(index: number, value: number, what: string): void {
    this.node.setInput(index, this.constant(Tensor.scalar(value, this.dtype), what));
  }

  constant(tensor: Tensor, what: string): Value {
    return this.graph.addConstant(`${this.node.name}.${what}`, new InlineData(tensor));
  }

  /** A node before this one: its result. */
  before(
    op: string,
    inputs: readonly (Value | undefined)[],
    attributes: AttributeMap = {},
    what = op,
  ): Value {
    const { node } = this;
    const made = this.graph.addNode({
      op,
      inputs,
      attributes,
      outputs: [`${node.name}.${what}`],
      phase: node.phase,
      ...(node.origin === undefined ? {} : { origin: node.origin }),
    });
    made.name = made.output().name;
    tryInfer(made, this.contents);
    return made.output();
  }

  /** Makes the node another operator. */
  become(op: string, inputs: readonly (Value | undefined)[], attributes: AttributeMap = {}): void {
    const { node } = this;
    const kept = Object.fromEntries([...node.attributes.entries()].map(([k]) => [k, undefined]));
    node.op = op;
    node.truncateInputs(0);
    for (const value of inputs) node.addInput(value);
    this.attributes({ ...kept, ...attributes });
  }

  /** @throws DiagnosticError model/opset */
  fail(why: string): never {
    throw new DiagnosticError(
      'model/opset',
      `node ${this.node.name} (${this.node.op}, opset ${this.opset})`,
      why,
    );
  }
}

/** Types a node if that is possible; what is contradictory is reported by infer-types, with the whole graph. */
export function tryInfer(node: Node, contents: Contents): void {
  try {
    inferNode(node, contents);
  } catch (error) {
    if (!(error instanceof DiagnosticError)) throw error;
  }
}
