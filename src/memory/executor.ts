// What ONNX Runtime's CPU executor does with memory. In: an ordered graph with static shapes. Out: the order in
// which nodes run, and for every value the buffer it lives in. Invariant: follows the executor's own plan, which is
// made before the first run: by counts of readers and by the shapes it knows then, not by bytes.
//
// For each result, in the order of execution: (1) a view lives in its operand's buffer; (2) a kernel that may write
// over an operand does so if it is its last reader; (3) else the result takes over the buffer of a tensor of the
// same shape that nobody reads any more, the one freed last first; (4) else it gets memory of its own. Memory is
// given back when the last tensor planned into the buffer has been read, so (3) holds it through the time between.

import { AS_IT_IS, byteSize, executionOrder, number } from '../ir/index.js';
import type { Graph, Node, RunView, Value } from '../ir/index.js';
import { fuse } from './fusion.js';
import { aliased, overwritten } from './kernels.js';
import { plannerShapes } from './shapes.js';

/** Memory that one or several values occupy in turn. */
export interface Buffer {
  readonly bytes: number;
  /** The values that live in it, the one that allocated it first. */
  readonly values: Value[];
  /** Positions in the order of execution: allocated before `first` runs, free after `last` has run. */
  readonly first: number;
  last: number;
}

export interface Execution {
  readonly order: readonly Node[];
  readonly buffers: readonly Buffer[];
}

interface Slot extends Buffer {
  /** Readers still to come of all values in it; one that is 0 may be taken over. */
  readers: number;
  readonly key: string | undefined;
}

const readsOf = (node: Node, view: RunView): readonly (Value | undefined)[] =>
  node.captures.length === 0 ? view.inputs(node) : [...view.inputs(node), ...node.captures];

class Planner {
  readonly slots: Slot[] = [];
  /** By the places of the values: where each lies. */
  private readonly owner: (Slot | undefined)[];
  /** How much more often than the graph says the nodes that are run read a value. */
  private readonly more = new Map<Value, number>();
  /** Free slots by shape, the one freed last at the end. */
  private readonly free = new Map<string, Slot[]>();
  private readonly results: ReadonlySet<Value>;
  /** Views by what they show. */
  private readonly views = new Map<Value, { readonly target: Value | undefined; first: Value }[]>();
  /** Views that the graph optimizer puts another in the place of: an equal one that is run before. */
  private readonly merged = new Map<Value, Value>();

  constructor(
    graph: Graph,
    private readonly external: ReadonlySet<Value>,
    private readonly key: (value: Value) => string | undefined,
    private readonly view: RunView,
    /** Whether equal nodes become one. */
    private readonly merges: boolean,
  ) {
    this.results = new Set(graph.outputs);
    this.owner = Array.from({ length: number(graph.values()) });
    const add = (values: Iterable<Value | undefined>, times: number): void => {
      for (const value of values)
        if (value) this.more.set(value, (this.more.get(value) ?? 0) + times);
    };
    if (view === AS_IT_IS) return;
    for (const node of graph.nodes) {
      const isGone = view.isGone(node);
      if (!isGone && !view.isNew(node)) continue;
      add(node.reads, -1);
      if (!isGone) add(readsOf(node, view), 1);
    }
  }

  /** How often the nodes that are run read a value. */
  private uses(value: Value): number {
    return value.useCount + (this.more.size > 0 ? (this.more.get(value) ?? 0) : 0);
  }

  /** Gives every result of a node its memory, then lets go of what the node was the last to read. */
  run(node: Node, now: number): void {
    node.outputs.forEach((value, index) => {
      if (value && !this.external.has(value)) this.place(node, value, index, now);
    });
    for (const value of readsOf(node, this.view)) if (value) this.release(value, now);
    for (const value of node.outputs) if (value && this.uses(value) !== 0) this.release(value, now);
  }

  private place(node: Node, value: Value, index: number, now: number): void {
    const source = aliased(node, index);
    if (source) {
      if (this.merges) this.merge(node, value, source);
      const slot = this.owner[source.place];
      // What lies in the caller's memory takes none.
      if (slot) this.add(slot, value);
      return;
    }
    const key = this.key(value);
    const slot =
      (index === 0 ? this.overwritable(node, value, key) : undefined) ??
      (key === undefined ? undefined : this.free.get(key)?.pop());
    if (slot) {
      this.add(slot, value);
      return;
    }
    const bytes = value.type ? byteSize(value.type) : undefined;
    if (bytes === undefined) return;
    const made: Slot = {
      bytes,
      values: [],
      first: now,
      last: now,
      readers: 0,
      key,
    };
    this.slots.push(made);
    this.add(made, value);
  }

  private add(slot: Slot, value: Value): void {
    slot.values.push(value);
    // The node that makes a value counts as a reader until it has run, the caller for ever.
    slot.readers += this.uses(value) + 1 + (this.results.has(value) ? 1 : 0);
    this.owner[value.place] = slot;
  }

  /**
   * A view that becomes one with an earlier one keeps its memory, but what reads it was typed by a symbol of its own, and
   * is then no longer of one shape with its operand.
   */
  private merge({ op, inputs }: Node, value: Value, source: Value): void {
    if (op !== 'Reshape') return;
    const target = inputs[1];
    const known = this.views.get(source) ?? [];
    const same = known.find((entry) => entry.target === target);
    if (same) this.merged.set(value, same.first);
    else known.push({ target, first: value });
    this.views.set(source, known);
  }

  /** The operand a kernel may write its result over: of the same shape, and this is its only reader left. */
  private overwritable(node: Node, value: Value, key: string | undefined): Slot | undefined {
    const operand = overwritten(node);
    const slot = operand && this.owner[operand.place];
    if (!operand || slot?.readers !== 1) return undefined;
    const isScalar = value.shape?.length === 0 && operand.shape?.length === 0;
    return isScalar || (key !== undefined && key === this.key(this.merged.get(operand) ?? operand))
      ? slot
      : undefined;
  }

  private release(value: Value, now: number): void {
    const slot = this.owner[value.place];
    if (!slot) return;
    slot.last = now;
    if (--slot.readers > 0 || slot.key === undefined) return;
    const stack = this.free.get(slot.key);
    if (stack) stack.push(slot);
    else this.free.set(slot.key, [slot]);
  }

  /** What is never given back: results of the graph that the caller gave no memory for, and what nobody reads. */
  finish(end: number): void {
    for (const slot of this.slots) if (slot.readers > 0) slot.last = end;
  }
}

/**
 * @param external values whose memory the caller provides: graph inputs, constants, preallocated outputs
 * @param optimized whether the executor's graph optimizer has been over the graph
 */
export function simulate(graph: Graph, external: ReadonlySet<Value>, optimized = true): Execution {
  const view = optimized ? fuse(graph) : AS_IT_IS;
  const shapes = plannerShapes(graph.nodes);
  const order = executionOrder(graph, view);
  const planner = new Planner(graph, external, shapes, view, optimized);
  order.forEach((node, index) => planner.run(node, index));
  planner.finish(order.length);
  return { order, buffers: planner.slots };
}
