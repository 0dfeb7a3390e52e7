// Recomputed twins of forward values. In: the nodes of a unit, what they read from outside. Out: clones, made
// only for what a gradient rule really reads. Invariant: every clone has the token among its ancestors, so
// that no executor can merge it with its forward original or run it before the token is there.

import { invariant } from '../diagnostics/index.js';
import type { Node, Value } from '../ir/index.js';
import { findOp, guardOperand, inferNode } from '../ops/index.js';
import type { Builder } from '../ops/index.js';

export class Recomputer {
  private readonly twins = new Map<Value, Value>();
  private readonly clones = new Set<Node>();
  private readonly inside: ReadonlySet<Node>;

  /**
   * @param outer where to read a value the unit did not compute: stored or reconstructed
   * @param token a scalar that is always 0; undefined only where a test removes it on purpose
   * @param waits whether an outer value already depends on the token
   */
  constructor(
    nodes: readonly Node[],
    private readonly outer: (value: Value) => Value,
    private readonly token: Value | undefined,
    private readonly b: Builder,
    private readonly waits: (value: Value) => boolean = () => false,
  ) {
    this.inside = new Set(nodes);
  }

  /** The value as the backward pass may read it. */
  twin(value: Value): Value {
    const { producer } = value;
    if (!producer || !this.inside.has(producer)) return this.outer(value);
    const known = this.twins.get(value);
    if (known) return known;
    this.clone(producer);
    const made = this.twins.get(value);
    invariant(made, `${value.name} was not recomputed`);
    return made;
  }

  private clone(node: Node): void {
    const inputs = node.inputs.map((value) => value && this.twin(value));
    const definition = findOp(node);
    const name =
      node.name
        .split('/')
        .filter((p) => p !== '')
        .at(-1) ?? node.op;
    const scoped = this.b.within({ phase: 'recompute', origin: node.origin ?? node.name });
    let results: (Value | undefined)[];
    if (definition?.recompute)
      results = definition.recompute(
        node,
        inputs,
        scoped.within({ path: `${scoped.scope.path}/${name}` }),
        node,
      );
    else {
      const type = node.domain === '' ? node.op : `${node.domain}.${node.op}`;
      results = scoped.node(type, inputs, {
        attributes: node.attributes,
        outputs: node.outputs.length,
        name,
      }).outputs;
    }
    const clone = results.find((v) => v?.producer)?.producer;
    const waits = (value: Value | undefined): boolean =>
      value?.producer !== undefined && (this.clones.has(value.producer) || this.waits(value));
    if (this.token && clone && (definition?.guardAlways === true || !inputs.some(waits)))
      this.guard(clone, this.token, scoped);
    if (clone) this.clones.add(clone);
    node.outputs.forEach((value, index) => {
      const result = results[index];
      if (value && result) this.twins.set(value, result);
    });
  }

  private guard(clone: Node, token: Value, b: Builder): void {
    const definition = findOp(clone);
    if (definition?.guard) definition.guard(clone, token, b);
    else guardOperand(clone, 0, token, b);
    inferNode(clone);
  }
}
