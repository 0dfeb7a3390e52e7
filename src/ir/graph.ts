// The graph: values, nodes, use lists. Identity is the object, names are labels. Invariant (checked by
// verify.ts): a value's uses and a node's inputs always mirror each other, because both are written only by
// the methods of this file.

import { DiagnosticError, invariant } from '../diagnostics/index.js';
import { Attributes } from './attributes.js';
import type { AttributeMap } from './attributes.js';
import type { LocalFunction } from './body.js';
import type { ConstantData, Shape, TensorType } from './tensor.js';

/** What part of a training step a node belongs to. */
export type Phase = 'forward' | 'recompute' | 'backward' | 'update';

export interface Use {
  readonly node: Node;
  readonly index: number;
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
  private readonly useSet = new Map<Node, Set<number>>();

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
    for (const [node, indices] of this.useSet)
      for (const index of indices) uses.push({ node, index });
    return uses;
  }

  /** The nodes that read this value, each once. */
  get users(): Node[] {
    return [...this.useSet.keys()];
  }

  get isUsed(): boolean {
    return this.useSet.size > 0;
  }

  /** @internal kept by Node */
  addUse(node: Node, index: number): void {
    const indices = this.useSet.get(node);
    if (indices) indices.add(index);
    else this.useSet.set(node, new Set([index]));
  }

  /** @internal kept by Node */
  removeUse(node: Node, index: number): void {
    const indices = this.useSet.get(node);
    const removed = indices?.delete(index) ?? false;
    invariant(removed, `use ${index} of ${this.name} was not recorded`);
    if (indices?.size === 0) this.useSet.delete(node);
  }
}

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
  readonly origin?: string;
  readonly unit?: string;
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
  /** Values that subgraphs of this node (If, Loop) read from outside; they count as uses, index −1−i. */
  readonly captures: Value[] = [];
  readonly outputs: (Value | undefined)[] = [];
  /** The reader's record of the file's bytes: set to undefined as soon as the node changes. */
  source: unknown;
  private readonly operands: (Value | undefined)[] = [];

  /** @internal use Graph.addNode */
  constructor(init: NodeInit, name: string) {
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
    for (const value of init.inputs) this.addInput(value);
  }

  get inputs(): readonly (Value | undefined)[] {
    return this.operands;
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
    value?.addUse(this, this.operands.length);
    this.operands.push(value);
    this.source = undefined;
  }

  setInput(index: number, value: Value | undefined): void {
    while (this.operands.length <= index) this.operands.push(undefined);
    this.operands[index]?.removeUse(this, index);
    this.operands[index] = value;
    value?.addUse(this, index);
    this.source = undefined;
  }

  /** Drops the operands from index on. */
  truncateInputs(index: number): void {
    while (this.operands.length > index) {
      const last = this.operands.length - 1;
      this.operands[last]?.removeUse(this, last);
      this.operands.pop();
    }
    this.source = undefined;
  }

  /** Records that a subgraph of this node reads an outer value. */
  addCapture(value: Value): void {
    this.captures.push(value);
    value.addUse(this, -this.captures.length);
  }

  /** Lets subgraphs of this node read another outer value in the place of the one at index. */
  setCapture(index: number, value: Value): void {
    this.captures[index]?.removeUse(this, -1 - index);
    this.captures[index] = value;
    value.addUse(this, -1 - index);
    this.source = undefined;
  }

  /** @internal kept by Graph.removeNode */
  detach(): void {
    this.operands.forEach((value, index) => value?.removeUse(this, index));
    this.captures.forEach((value, index) => value.removeUse(this, -1 - index));
    this.operands.length = 0;
    this.captures.length = 0;
  }
}

/** A graph with its nodes in execution order (call sort() after edits that may break it). */
export class Graph {
  name = 'graph';
  readonly inputs: Value[] = [];
  readonly outputs: Value[] = [];
  private readonly nodeSet = new Set<Node>();
  private readonly constantSet = new Set<Value>();
  private readonly names = new Map<string, number>();
  /** The reader's record of the rest of the GraphProto. */
  source: unknown;

  get nodes(): Iterable<Node> & { readonly size: number } {
    return this.nodeSet;
  }

  /** The initializers, in file order. */
  get constants(): Iterable<Value> & { readonly size: number } {
    return this.constantSet;
  }

  has(node: Node): boolean {
    return this.nodeSet.has(node);
  }

  /** Every value once: inputs, constants, node outputs. */
  *values(): Iterable<Value> {
    yield* this.inputs;
    const inputs = new Set(this.inputs);
    for (const value of this.constantSet) if (!inputs.has(value)) yield value;
    for (const node of this.nodeSet) for (const value of node.outputs) if (value) yield value;
  }

  /** A name no value or node of this graph has yet; the name itself where it is free. Reserves it. */
  uniqueName(base: string): string {
    let name = base;
    let next = this.names.get(base);
    if (next === undefined) {
      this.names.set(base, 1);
      return base;
    }
    do name = `${base}_${next++}`;
    while (this.names.has(name));
    this.names.set(base, next);
    this.names.set(name, 1);
    return name;
  }

  addInput(name: string, type?: TensorType): Value {
    const value = new Value(this.uniqueName(name), type);
    this.inputs.push(value);
    return value;
  }

  addConstant(name: string, data: ConstantData): Value {
    const value = new Value(this.uniqueName(name), { dtype: data.dtype, shape: data.dims });
    return this.attachConstant(value, data);
  }

  /** Makes a value that is already known (a graph input, say) a constant too. */
  attachConstant(value: Value, data: ConstantData): Value {
    value.constant = data;
    this.constantSet.add(value);
    return value;
  }

  removeConstant(value: Value): void {
    invariant(!value.isUsed, `constant ${value.name} is still used`);
    value.constant = undefined;
    this.constantSet.delete(value);
  }

  /** Makes a constant an input that has to be fed: a weight that is trained. */
  constantToInput(value: Value): void {
    invariant(this.constantSet.delete(value), `${value.name} is no constant`);
    value.constant = undefined;
    value.source = undefined;
    if (!this.inputs.includes(value)) this.inputs.push(value);
  }

  addNode(init: NodeInit): Node {
    const first = init.outputs.find((o) => o !== undefined);
    const node = new Node(init, init.name ?? `${init.op}:${first ?? ''}`);
    init.outputs.forEach((name, index) => {
      if (name === undefined) node.outputs.push(undefined);
      else {
        const value = new Value(this.uniqueName(name));
        value.producer = node;
        value.outputIndex = index;
        node.outputs.push(value);
      }
    });
    this.nodeSet.add(node);
    return node;
  }

  /** Gives a node one more output. */
  addOutput(node: Node, name: string): Value {
    const value = new Value(this.uniqueName(name));
    value.producer = node;
    value.outputIndex = node.outputs.length;
    node.outputs.push(value);
    node.source = undefined;
    return value;
  }

  /** Removes a node whose outputs nobody reads. */
  removeNode(node: Node): void {
    for (const value of node.outputs)
      invariant(
        !value || (!value.isUsed && !this.outputs.includes(value)),
        `${node.name} is removed while ${value?.name ?? ''} is still read`,
      );
    node.detach();
    this.nodeSet.delete(node);
  }

  /** Makes every reader of `from` (graph outputs included, unless only nodes matter) read `to` instead. */
  replaceUses(from: Value, to: Value, where: (use: Use) => boolean = () => true): void {
    for (const use of from.uses) {
      if (!where(use)) continue;
      if (use.index >= 0) use.node.setInput(use.index, to);
      else use.node.setCapture(-1 - use.index, to);
    }
  }

  /** replaceUses, and graph outputs as well: `to` takes over the public name of `from`. */
  replaceValue(from: Value, to: Value): void {
    this.replaceUses(from, to, (use) => use.node !== to.producer);
    const index = this.outputs.indexOf(from);
    if (index >= 0) {
      this.outputs[index] = to;
      if (!to.constant && !this.inputs.includes(to) && this.outputs.indexOf(to) === index) {
        const name = from.name;
        from.name = this.uniqueName(`${name}.before`);
        to.name = name;
      }
    }
  }

  /**
   * Lets `value` be computed the way `result` is: it takes the place of `result` among the outputs of that
   * node. Name, readers and identity of `value` stay; its former producer loses the output.
   */
  adopt(value: Value, result: Value): void {
    const [former, node] = [value.producer, result.producer];
    invariant(
      former && node && former !== node,
      `${value.name} cannot be computed as ${result.name}`,
    );
    this.replaceUses(result, value);
    former.outputs[value.outputIndex] = undefined;
    node.outputs[result.outputIndex] = value;
    value.producer = node;
    value.outputIndex = result.outputIndex;
    value.type = result.type;
  }

  /** Removes nodes and constants nothing reads. Graph inputs stay. Returns how many nodes went. */
  removeDead(): number {
    const before = this.nodeSet.size;
    const kept = new Set(this.outputs);
    const dead = (node: Node): boolean =>
      node.outputs.every((v) => !v || (!v.isUsed && !kept.has(v)));
    const work = [...this.nodeSet].filter(dead);
    for (let node = work.pop(); node; node = work.pop()) {
      if (!this.nodeSet.has(node)) continue;
      const producers = [...node.inputs, ...node.captures].map((v) => v?.producer);
      this.removeNode(node);
      for (const p of producers) if (p && this.nodeSet.has(p) && dead(p)) work.push(p);
    }
    for (const value of [...this.constantSet])
      if (!value.isUsed && !kept.has(value)) {
        this.removeConstant(value);
        const index = this.inputs.indexOf(value);
        if (index >= 0) this.inputs.splice(index, 1);
      }
    return before - this.nodeSet.size;
  }

  /** Orders the nodes so that producers come first; otherwise the present order is kept. Throws on a cycle. */
  sort(): void {
    const done = new Set<Node>();
    const open = new Set<Node>();
    const order: Node[] = [];
    for (const root of this.nodeSet) {
      const stack: Node[] = [root];
      while (stack.length > 0) {
        const node = stack[stack.length - 1];
        if (!node) break;
        if (done.has(node)) {
          stack.pop();
          continue;
        }
        open.add(node);
        const pending: Node[] = [];
        for (const v of [...node.inputs, ...node.captures]) {
          const p = v?.producer;
          if (p && !done.has(p)) {
            invariant(!open.has(p), `the graph has a cycle through ${p.name}`);
            pending.push(p);
          }
        }
        if (pending.length > 0) stack.push(...pending.reverse());
        else {
          stack.pop();
          open.delete(node);
          done.add(node);
          order.push(node);
        }
      }
    }
    this.reorder(order);
  }

  /** Puts the nodes into the given order (a permutation of the present ones). */
  reorder(order: readonly Node[]): void {
    invariant(order.length === this.nodeSet.size, 'an order must name every node once');
    this.nodeSet.clear();
    for (const node of order) this.nodeSet.add(node);
  }
}

/** A model: the main graph and what the file says around it. */
export class Model {
  readonly graph = new Graph();
  irVersion = 8;
  /** Domain → version; '' = ai.onnx. */
  readonly opsets = new Map<string, number>();
  readonly metadata = new Map<string, string>();
  producerName = '';
  /** What nodes may call like operators. */
  functions: readonly LocalFunction[] = [];
  /** The reader's record of the file. */
  source: unknown;

  get opset(): number {
    return this.opsets.get('') ?? this.opsets.get('ai.onnx') ?? 1;
  }
}
