// Which value every path to another value goes through. In: a graph in topological order. Out: the
// dominator tree of its data values. Invariant: shapes and masks are not data: what only depends on constants, on the
// Shape of something or on the seed is left out, so that a shape read elsewhere does not hide a residual block.

import type { Graph, Node, Value } from '../ir/index.js';

const SHAPE_READERS = new Set(['Shape', 'Size']);
/** What they give depends on no element of their operands. */
const NO_DATA = new Set([...SHAPE_READERS, 'RandomMask', 'DrawUniform']);

interface Place {
  readonly parent: Value | undefined;
  readonly depth: number;
}

export class Dominance {
  private readonly places = new Map<Value, Place>();

  /** @param sides inputs that are no data here: what depends on them alone is read from outside, as weights are */
  constructor(graph: Graph, sides: ReadonlySet<Value> = new Set()) {
    for (const value of graph.inputs)
      if (!value.constant && !sides.has(value))
        this.places.set(value, { parent: undefined, depth: 1 });
    for (const node of graph.nodes) {
      if (NO_DATA.has(node.op)) continue;
      const operands = this.dataInputs(node);
      const first = operands[0];
      if (!first) continue;
      let parent: Value | undefined = first;
      for (const other of operands.slice(1)) parent = parent && this.common(parent, other);
      const depth = parent ? this.depth(parent) + 1 : 1;
      for (const output of node.outputs) if (output) this.places.set(output, { parent, depth });
    }
  }

  /** Whether the value carries data that depends on a graph input (not a weight, not a shape). */
  isData(value: Value): boolean {
    return this.places.has(value);
  }

  /** The operands (and captures) of a node that carry data, in order. */
  dataInputs(node: Node): Value[] {
    return node.reads.filter((v): v is Value => v !== undefined && this.places.has(v));
  }

  /** The nearest value that every path to a and every path to b goes through; undefined: none. */
  common(a: Value, b: Value): Value | undefined {
    let x: Value | undefined = a;
    let y: Value | undefined = b;
    while (x && y && x !== y) {
      if (this.depth(x) >= this.depth(y)) x = this.places.get(x)?.parent;
      else y = this.places.get(y)?.parent;
    }
    return x && y ? x : undefined;
  }

  /** The nearest other value that every path to this one goes through. */
  above(value: Value): Value | undefined {
    return this.places.get(value)?.parent;
  }

  /** Readers that take the value as data: all but those that only read its shape. */
  dataUsers(value: Value): Node[] {
    return value.users.filter((user) => !NO_DATA.has(user.op));
  }

  private depth(value: Value): number {
    return this.places.get(value)?.depth ?? 0;
  }
}
