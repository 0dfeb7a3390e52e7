// Which extents of a graph change together. In: a typed graph. Out: its axes (of values, constants included) in
// classes of equal extent, by what the operators say of their operands. Invariant: a class that an operator could not
// follow in a change is frozen, with the reason.

import type { Graph, Node, Value } from '../ir/index.js';
import { axisLinks } from '../ops/index.js';

interface Member {
  readonly value: Value;
  readonly axis: number;
}

/** Axes that have one extent. */
export class AxisClass {
  readonly members: Member[] = [];
  /** The extent must stay a multiple of this. */
  multiple = 1;
  /** Why the extent cannot change; undefined: it can. */
  frozen: string | undefined;
  private parent: AxisClass | undefined;

  /** @internal */
  root(): AxisClass {
    let top = this as AxisClass;
    while (top.parent) top = top.parent;
    for (let below = this as AxisClass; below.parent;) {
      const { parent } = below;
      below.parent = top;
      below = parent;
      if (parent === top) break;
    }
    return top;
  }

  /** @internal both must be roots */
  join(other: AxisClass): AxisClass {
    if (other === this) return this;
    const [large, small] =
      this.members.length >= other.members.length ? [this, other] : [other, this];
    for (const member of small.members) large.members.push(member);
    large.multiple = leastCommonMultiple(large.multiple, small.multiple);
    large.frozen ??= small.frozen;
    small.parent = large;
    return large;
  }

  /** The extent now. */
  get extent(): number | string | undefined {
    const [first] = this.members;
    return first?.value.shape?.[first.axis];
  }
}

const greatestCommonDivisor = (a: number, b: number): number =>
  b === 0 ? a : greatestCommonDivisor(b, a % b);
const leastCommonMultiple = (a: number, b: number): number => (a / greatestCommonDivisor(a, b)) * b;

export class AxisClasses {
  private readonly classes = new Map<Value, AxisClass[]>();

  /** @param borders nodes across which extents may change independently */
  constructor(graph: Graph, borders: ReadonlySet<Node> = new Set()) {
    for (const value of graph.inputs)
      if (!value.constant) this.freeze(value, `input ${value.name} has this extent`);
    for (const value of graph.outputs) this.freeze(value, `output ${value.name} has this extent`);
    for (const node of graph.nodes) if (!borders.has(node)) this.read(node);
  }

  /** The class of one axis; undefined while the rank is not known. */
  of(value: Value, axis: number): AxisClass | undefined {
    return this.axesOf(value)[axis]?.root();
  }

  /** The classes of all axes of a value; none while its rank is not known. */
  all(value: Value): AxisClass[] {
    return this.axesOf(value).map((own) => own.root());
  }

  private axesOf(value: Value): AxisClass[] {
    let axes = this.classes.get(value);
    if (!axes) {
      axes = (value.shape ?? []).map((_, axis) => {
        const own = new AxisClass();
        own.members.push({ value, axis });
        return own;
      });
      this.classes.set(value, axes);
    }
    return axes;
  }

  private freeze(value: Value, why: string, except: ReadonlySet<number> = new Set()): void {
    this.axesOf(value).forEach((axisClass, axis) => {
      if (!except.has(axis)) axisClass.root().frozen ??= why;
    });
  }

  private read(node: Node): void {
    const links = axisLinks(node) ?? [];
    const named = new Map<Value, Set<number>>();
    for (const { axes, multiple = 1 } of links) {
      let joined: AxisClass | undefined;
      for (const { side, index, axis } of axes) {
        const value = side === 'in' ? node.inputs[index] : node.outputs[index];
        if (!value) continue;
        const own = this.of(value, axis);
        if (!own) continue;
        const known = named.get(value) ?? new Set();
        named.set(value, known.add(axis));
        joined = joined ? joined.join(own) : own;
      }
      if (joined) joined.multiple = leastCommonMultiple(joined.multiple, multiple);
    }
    const why = `node ${node.name} (${node.op}) depends on this extent`;
    for (const value of [...node.inputs, ...node.captures, ...node.outputs])
      if (value) this.freeze(value, why, named.get(value));
  }
}
