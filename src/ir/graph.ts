// The graph: nodes in order, constants, names. Invariant: every name is given once; nodes go only when nobody reads them.

import { invariant } from '../diagnostics/index.js';
import { Node, Value, number } from './node.js';
import type { NodeInit, Use } from './node.js';
import type { ConstantData, TensorType } from './tensor.js';

/** How far a search is with a node. */
const [OPEN, DONE] = [1, 2];

/** A graph with its nodes in execution order (call sort() after edits that may break it). */
export class Graph {
  name = 'graph';
  readonly inputs: Value[] = [];
  readonly outputs: Value[] = [];
  private readonly nodeSet = new Set<Node>();
  private readonly constantSet = new Set<Value>();
  private readonly names = new Set<string>();
  /** For a name that was asked for again: the number to try next. */
  private readonly counts = new Map<string, number>();
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
  values(): Value[] {
    const values = [...this.inputs];
    const inputs = new Set(values);
    for (const value of this.constantSet) if (!inputs.has(value)) values.push(value);
    for (const { outputs } of this.nodeSet)
      for (const value of outputs) if (value) values.push(value);
    return values;
  }

  /** A name no value or node of this graph has yet; the name itself where it is free. Reserves it. */
  uniqueName(base: string): string {
    // Names are long, and looking one up is most of the work: once, for nearly all.
    const before = this.names.size;
    if (this.names.add(base).size > before) return base;
    let count = this.counts.get(base) ?? 1;
    let name: string;
    do name = `${base}_${count++}`;
    while (this.names.has(name));
    this.counts.set(base, count);
    this.names.add(name);
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
    const outputs = init.outputs.map((name) =>
      name === undefined ? undefined : new Value(this.uniqueName(name)),
    );
    const node = new Node(init, init.name ?? `${init.op}:${first ?? ''}`, outputs);
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
      const reads = [...node.reads];
      this.removeNode(node);
      for (const value of reads) {
        const producer = value?.producer;
        if (producer && this.nodeSet.has(producer) && dead(producer)) work.push(producer);
      }
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
    const done = new Uint8Array(number(this.nodeSet));
    if (this.isSorted(done)) return;
    done.fill(0);
    const order: Node[] = [];
    const stack: Node[] = [];
    for (const root of this.nodeSet) {
      if (done[root.place] === DONE) continue;
      stack.push(root);
      for (let node = stack.at(-1); node; node = stack.at(-1)) {
        const { reads, place } = node;
        const height = stack.length;
        if (done[place] !== DONE) {
          done[place] = OPEN;
          // The first operand is to be computed first: it comes to lie on top.
          for (let index = reads.length - 1; index >= 0; index--) {
            const producer = reads[index]?.producer;
            if (!producer || done[producer.place] === DONE) continue;
            invariant(
              done[producer.place] !== OPEN,
              `the graph has a cycle through ${producer.name}`,
            );
            stack.push(producer);
          }
        }
        if (stack.length > height) continue;
        stack.pop();
        if (done[place] === DONE) continue;
        done[place] = DONE;
        order.push(node);
      }
    }
    this.reorder(order);
  }

  /** @param done an entry for every node, 0 */
  private isSorted(done: Uint8Array): boolean {
    for (const node of this.nodeSet) {
      for (const value of node.reads)
        if (value?.producer && done[value.producer.place] !== DONE) return false;
      done[node.place] = DONE;
    }
    return true;
  }

  /** Puts the nodes into the given order (a permutation of the present ones). */
  reorder(order: readonly Node[]): void {
    invariant(order.length === this.nodeSet.size, 'an order must name every node once');
    this.nodeSet.clear();
    for (const node of order) this.nodeSet.add(node);
  }
}
