// Nodes and values. Identity is the object, names are labels. Invariant (checked by verify.ts): a value's uses and a
// node's operands always mirror each other, because both are written only by the methods of this file.

import { DiagnosticError, invariant } from '../diagnostics/index.js';
import { Attributes } from './attributes.js';
import type { AttributeMap } from './attributes.js';
import type { ConstantData, Shape, TensorType } from './tensor.js';

/** What part of a training step a node belongs to. */
export type Phase = 'forward' | 'recompute' | 'backward' | 'update';

/** One operand place that reads a value; linked to the next one of the same value. */
export interface Use {
  readonly node: Node;
  /** Which operand; −1−i for what subgraphs of the node read from outside. */
  readonly index: number;
  /** @internal kept by Value */
  before: Use | undefined;
  /** @internal kept by Value */
  after: Use | undefined;
}

/** A tensor in the graph: a graph input, a constant (initializer) or the output of a node. */
export class Value {
  type: TensorType | undefined;
  /** What a file shall say of the type where that is less than is known, on purpose (see autodiff/views.ts). */
  stated: TensorType | undefined;
  /** The node that computes it; undefined for graph inputs and constants. */
  producer: Node | undefined;
  outputIndex = 0;
  /** Set for initializers. A value may be constant and a graph input at once (IR 3 files). */
  constant: ConstantData | undefined;
  /** The reader's record of the file's bytes (ValueInfo, TensorProto): what an untouched value is written from. */
  source: unknown;
  private firstUse: Use | undefined;
  private lastUse: Use | undefined;
  /** How many operand places read it. */
  useCount = 0;
  /** A number of its own for the algorithm at work (see `number`); means nothing to any other. */
  place = -1;

  constructor(
    public name: string,
    type?: TensorType,
  ) {
    this.type = type;
  }

  get shape(): Shape | undefined {
    return this.type?.shape;
  }

  /** Every (node, operand index) that reads this value, in the order the uses were made. */
  get uses(): Use[] {
    const uses: Use[] = [];
    for (let use = this.firstUse; use; use = use.after) uses.push(use);
    return uses;
  }

  /** The nodes that read this value, each once. */
  get users(): Node[] {
    const { firstUse } = this;
    if (!firstUse) return [];
    if (firstUse === this.lastUse) return [firstUse.node];
    const users = new Set<Node>();
    for (let use: Use | undefined = firstUse; use; use = use.after) users.add(use.node);
    return [...users];
  }

  /** Calls `visit` for every use, without a list of them; it makes no uses and removes none. */
  forEachUse(visit: (use: Use) => void): void {
    for (let use = this.firstUse; use; use = use.after) visit(use);
  }

  get isUsed(): boolean {
    return this.firstUse !== undefined;
  }

  /** @internal kept by Node */
  addUse(node: Node, index: number): Use {
    const use: Use = { node, index, before: this.lastUse, after: undefined };
    if (this.lastUse) this.lastUse.after = use;
    else this.firstUse = use;
    this.lastUse = use;
    this.useCount++;
    return use;
  }

  /** @internal kept by Node */
  removeUse(use: Use): void {
    const { before, after } = use;
    const known = before ? before.after === use : this.firstUse === use;
    invariant(known, `use ${use.index} of ${this.name} was not recorded`);
    if (before) before.after = after;
    else this.firstUse = after;
    if (after) after.before = before;
    else this.lastUse = before;
    use.before = undefined;
    use.after = undefined;
    this.useCount--;
  }
}

const NO_VALUES: readonly Value[] = [];

export interface NodeInit {
  readonly op: string;
  /** '' = ai.onnx */
  readonly domain?: string;
  /** Which of several functions of the model, where that is what it calls. */
  readonly overload?: string;
  readonly name?: string;
  readonly inputs: readonly (Value | undefined)[];
  /** Names of the outputs; undefined = an optional output that is left out. */
  readonly outputs: readonly (string | undefined)[];
  readonly attributes?: AttributeMap | Attributes;
  readonly phase?: Phase;
  readonly origin?: string | undefined;
  readonly unit?: string | undefined;
}

/** One operator application. Inputs and outputs may have gaps (undefined) where optional. */
export class Node {
  name: string;
  op: string;
  domain: string;
  overload: string;
  attributes: Attributes;
  phase: Phase;
  /** Name of the node of the original model that this one stems from. */
  origin: string | undefined;
  /** The unit of the training schedule it belongs to. */
  unit: string | undefined;
  readonly outputs: (Value | undefined)[];
  /** The reader's record of the file's bytes: set to undefined as soon as the node changes. */
  source: unknown;
  private readonly operands: (Value | undefined)[];
  /** What the operands, and the captures, have entered at their values. */
  private readonly operandUses: (Use | undefined)[];
  private captured: { readonly values: Value[]; readonly uses: Use[] } | undefined;
  /** A number of its own for the algorithm at work (see `number`); means nothing to any other. */
  place = -1;

  /** @internal use Graph.addNode */
  constructor(init: NodeInit, name: string, outputs: (Value | undefined)[]) {
    this.name = name;
    this.op = init.op;
    this.domain = init.domain ?? '';
    this.overload = init.overload ?? '';
    this.attributes =
      init.attributes instanceof Attributes
        ? init.attributes
        : new Attributes(init.attributes ?? {});
    this.phase = init.phase ?? 'forward';
    this.origin = init.origin;
    this.unit = init.unit;
    // Copied, not filled one by one: an array that grows keeps room for 17, and a step has a hundred thousand nodes.
    this.outputs = outputs;
    this.operands = init.inputs.slice();
    this.operandUses = init.inputs.map((value, index) => value?.addUse(this, index));
    outputs.forEach((value, index) => {
      if (!value) return;
      value.producer = this;
      value.outputIndex = index;
    });
  }

  get inputs(): readonly (Value | undefined)[] {
    return this.operands;
  }

  /** Values that subgraphs of this node (If, Loop) read from outside; they count as uses, index −1−i. */
  get captures(): readonly Value[] {
    return this.captured?.values ?? NO_VALUES;
  }

  /** Everything it reads: its operands, then what its subgraphs read from outside. */
  get reads(): readonly (Value | undefined)[] {
    return this.captured ? [...this.operands, ...this.captured.values] : this.operands;
  }

  /** The operand at index. @throws DiagnosticError model/invalid if it is left out */
  input(index: number): Value {
    const value = this.operands[index];
    if (!value)
      throw new DiagnosticError(
        'model/invalid',
        `node ${this.name} (${this.op})`,
        `it has no operand ${index}`,
      );
    return value;
  }

  /** The result at index; throws if it is left out. */
  output(index = 0): Value {
    const value = this.outputs[index];
    invariant(value, `node ${this.name} (${this.op}) has no output ${index}`);
    return value;
  }

  addInput(value: Value | undefined): void {
    this.operandUses.push(value?.addUse(this, this.operands.length));
    this.operands.push(value);
    this.source = undefined;
  }

  setInput(index: number, value: Value | undefined): void {
    while (this.operands.length <= index) this.addInput(undefined);
    this.drop(index);
    this.operands[index] = value;
    this.operandUses[index] = value?.addUse(this, index);
    this.source = undefined;
  }

  /** Drops the operands from index on. */
  truncateInputs(index: number): void {
    while (this.operands.length > index) {
      this.drop(this.operands.length - 1);
      this.operands.pop();
      this.operandUses.pop();
    }
    this.source = undefined;
  }

  /** Records that a subgraph of this node reads an outer value. */
  addCapture(value: Value): void {
    this.captured ??= { values: [], uses: [] };
    const { values, uses } = this.captured;
    values.push(value);
    uses.push(value.addUse(this, -values.length));
  }

  /** Lets subgraphs of this node read another outer value in the place of the one at index. */
  setCapture(index: number, value: Value): void {
    const use = this.captured?.uses[index];
    invariant(this.captured && use, `${this.name} has no capture ${index}`);
    const { values, uses } = this.captured;
    values[index]?.removeUse(use);
    values[index] = value;
    uses[index] = value.addUse(this, -1 - index);
    this.source = undefined;
  }

  /** @internal kept by Graph.removeNode */
  detach(): void {
    this.truncateInputs(0);
    const { values = [], uses = [] } = this.captured ?? {};
    uses.forEach((use, index) => values[index]?.removeUse(use));
    this.captured = undefined;
  }

  private drop(index: number): void {
    const use = this.operandUses[index];
    if (use) this.operands[index]?.removeUse(use);
  }
}

/**
 * Numbers nodes or values from 0, for an algorithm that then keeps what it knows of them in arrays: many times faster
 * than maps. The numbers hold until the next call for the same items, so it calls nothing that may number them anew.
 * @returns how many
 */
export function number(items: Iterable<Node | Value>): number {
  let count = 0;
  for (const item of items) item.place = count++;
  return count;
}
