// Puts the nodes of a body (of a function, of a branch) into a graph. In: nodes that speak of values by name, and
// what the names from outside stand for. Out: nodes and values of the graph. Invariant: no name of the graph is
// taken twice, also not by what graphs inside the new nodes define.

import { DiagnosticError } from '../../diagnostics/index.js';
import { mapAttributes, mapGraphs, mapNodeAttributes, namesIn, renameIn } from '../../ir/index.js';
import type { Attribute, Attributes, BodyNode, Graph, Node, Value } from '../../ir/index.js';

/** Names in a body → values of the graph; undefined: an optional operand that is left out. */
export type Scope = Map<string, Value | undefined>;

export interface Placement {
  /** Goes before the names of new nodes and values. */
  readonly prefix: string;
  /** What messages call the body. */
  readonly where: string;
  /** What attributes that are references stand for; undefined: nothing, so that they are left out. */
  readonly refer?: (name: string) => Attribute | undefined;
  /** Values that are read in attributes which `refer` gives. */
  readonly around?: readonly Value[];
}

const invalid = (where: string, why: string): DiagnosticError =>
  new DiagnosticError('model/invalid', where, why);

/** What a name in a body stands for. @throws DiagnosticError model/invalid */
export function lookUp(scope: Scope, name: string, where: string): Value | undefined {
  if (name === '') return undefined;
  if (!scope.has(name)) throw invalid(where, `it reads "${name}", which nothing defines`);
  return scope.get(name);
}

/** Adds the nodes to the graph, and their results to the scope. */
export function placeNodes(
  graph: Graph,
  nodes: readonly BodyNode[],
  scope: Scope,
  placement: Placement,
): Node[] {
  const { prefix, where } = placement;
  // Bodies need not be in topological order: results come first.
  const placed = nodes.map((body) => {
    const { op, domain, overload } = body;
    const base = body.name || `${op}:${body.outputs.find((o) => o !== '') ?? ''}`;
    const node = graph.addNode({
      op,
      domain,
      overload,
      name: graph.uniqueName(`${prefix}/${base}`),
      inputs: [],
      outputs: body.outputs.map((o) => (o === '' ? undefined : `${prefix}/${o}`)),
    });
    body.outputs.forEach((name, i) => {
      if (name === '') return;
      if (scope.has(name)) throw invalid(where, `"${name}" is defined a second time`);
      scope.set(name, node.outputs[i]);
    });
    return node;
  });
  placed.forEach((node, i) => {
    const body = nodes[i];
    if (!body) return;
    const inNode = `${where}, node ${body.name || body.op}`;
    for (const name of body.inputs) node.addInput(lookUp(scope, name, inNode));
    const attributes = globalNames(graph, body.attributes, (name) => lookUp(scope, name, inNode));
    node.attributes = substitute(attributes, placement);
    const captures = [...namesIn(node.attributes.entries()).captures];
    if (captures.length === 0) return;
    const values = [...(placement.around ?? []), ...scope.values()];
    for (const name of captures) {
      const value = values.find((v) => v?.name === name);
      if (value) node.addCapture(value);
    }
  });
  return placed;
}

/** Attributes whose graphs read outer values under the names these have, and define names of their own. */
function globalNames(
  graph: Graph,
  attributes: Attributes,
  find: (name: string) => Value | undefined,
): Attributes {
  const { captures, inner } = namesIn(attributes.entries());
  if (captures.size === 0 && inner.size === 0) return attributes;
  const outer = new Map([...captures].map((name) => [name, find(name)?.name ?? '']));
  const own = new Map([...inner].map((name) => [name, graph.uniqueName(name)]));
  return mapAttributes(attributes, (a) => mapGraphs(a, (g) => renameIn(g, outer, own)));
}

function substitute(attributes: Attributes, { refer }: Placement): Attributes {
  if (!refer) return attributes;
  const change = (a: Attribute): Attribute | undefined =>
    a.kind === 'reference' ? refer(a.value.name) : a;
  return mapAttributes(attributes, (a) => {
    if (a.kind === 'reference') return refer(a.value.name);
    return mapGraphs(a, (g) => mapNodeAttributes(g, change));
  });
}

/**
 * Lets the values that a node computes be computed as `results` instead, and removes the node.
 * @param placed the nodes that take its place
 */
export function replaceNode(
  graph: Graph,
  node: Node,
  results: readonly (Value | undefined)[],
  placed: readonly Node[],
): void {
  const ours = new Set(placed);
  /** A result that has become a value of the node. */
  const adopted = new Map<Value, Value>();
  node.outputs.forEach((value, i) => {
    const result = results[i];
    if (!value || !result) return;
    const { type } = value;
    const twin = adopted.get(result);
    const own = !twin && result.producer && ours.has(result.producer);
    const outputs = [`${node.name}/${i}`];
    const source = own
      ? result
      : graph.addNode({ op: 'Identity', inputs: [twin ?? result], outputs }).output();
    if (own) adopted.set(result, value);
    graph.adopt(value, source);
    value.type ??= type;
  });
  graph.removeNode(node);
}
