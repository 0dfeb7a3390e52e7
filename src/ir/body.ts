// Graphs inside a model: the branches of If, the body of Loop, the functions a model defines. Plain data that speaks
// of values by name, because most of them are only carried along. Invariant: nothing here is ever changed; a change
// makes a new one, and what does not change stays the same object.

import { Attributes } from './attributes.js';
import type { Attribute } from './attributes.js';
import type { Node } from './node.js';
import type { ConstantData, TensorType } from './tensor.js';

/** An operator application by names; '' = an operand or result that is left out. */
export interface BodyNode {
  readonly name: string;
  readonly op: string;
  /** '' = ai.onnx */
  readonly domain: string;
  /** Which of several functions of that name. */
  readonly overload: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  readonly attributes: Attributes;
}

/** The value of an attribute of type GRAPH. What it reads and does not define is defined around it. */
export interface Subgraph {
  readonly name: string;
  readonly inputs: readonly { readonly name: string; readonly type: TensorType | undefined }[];
  readonly outputs: readonly string[];
  readonly constants: readonly { readonly name: string; readonly data: ConstantData }[];
  /** What the file says of other values: results, and outer ones that are returned. */
  readonly types: ReadonlyMap<string, TensorType>;
  readonly nodes: readonly BodyNode[];
}

/** A function that a model defines and nodes call like an operator. */
export interface LocalFunction {
  readonly domain: string;
  readonly name: string;
  readonly overload: string;
  readonly inputs: readonly string[];
  readonly outputs: readonly string[];
  /** Attributes that have no default. */
  readonly attributes: readonly string[];
  readonly defaults: Attributes;
  /** Domain → version that the body is written in; '' = ai.onnx. */
  readonly opsets: ReadonlyMap<string, number>;
  readonly nodes: readonly BodyNode[];
}

const graphsOf = (attribute: Attribute): readonly Subgraph[] =>
  attribute.kind === 'graph'
    ? [attribute.value]
    : attribute.kind === 'graphs'
      ? attribute.value
      : [];

/** Names of the values that a graph itself defines. */
function definedIn({ inputs, constants, nodes }: Subgraph): Set<string> {
  const names = new Set([...inputs, ...constants].map(({ name }) => name));
  for (const node of nodes) for (const output of node.outputs) names.add(output);
  names.delete('');
  return names;
}

export interface SubgraphNames {
  /** Outer values that are read, each once, in the order they appear: nodes, then outputs. */
  readonly captures: Set<string>;
  /** Every name defined at any depth inside. */
  readonly inner: Set<string>;
}

/** What the graphs among some attributes read from outside and define inside. */
export function namesIn(attributes: Iterable<readonly [string, Attribute]>): SubgraphNames {
  const names: SubgraphNames = { captures: new Set(), inner: new Set() };
  const visit = (graph: Subgraph, scopes: readonly ReadonlySet<string>[]): void => {
    const own = definedIn(graph);
    for (const name of own) names.inner.add(name);
    const visible = [...scopes, own];
    const reads = (name: string): void => {
      if (name !== '' && !visible.some((s) => s.has(name))) names.captures.add(name);
    };
    for (const node of graph.nodes) {
      node.inputs.forEach(reads);
      for (const [, attribute] of node.attributes.entries())
        for (const inner of graphsOf(attribute)) visit(inner, visible);
    }
    graph.outputs.forEach(reads);
  };
  for (const [, attribute] of attributes) for (const graph of graphsOf(attribute)) visit(graph, []);
  return names;
}

/** Outer names in the subgraphs of a node → what these values are called now, where that differs. */
export function renamedCaptures(
  node: Node,
  names: Iterable<string> = namesIn(node.attributes.entries()).captures,
): Map<string, string> {
  const rename = new Map<string, string>();
  [...names].forEach((name, i) => {
    const now = node.captures[i]?.name;
    if (now !== undefined && now !== name) rename.set(name, now);
  });
  return rename;
}

/** Every attribute through `change`, those for which it gives undefined left out; the same object if none changes. */
export function mapAttributes(
  attributes: Attributes,
  change: (attribute: Attribute) => Attribute | undefined,
): Attributes {
  const before = [...attributes.entries()];
  const after = before.flatMap(([name, attribute]): [string, Attribute][] => {
    const changed = change(attribute);
    return changed ? [[name, changed]] : [];
  });
  const same =
    after.length === before.length &&
    after.every(([, attribute], i) => attribute === before[i]?.[1]);
  return same ? attributes : new Attributes(after);
}

/** The attribute with each of its graphs changed; itself if none does. */
export function mapGraphs(attribute: Attribute, change: (graph: Subgraph) => Subgraph): Attribute {
  if (attribute.kind === 'graph') {
    const value = change(attribute.value);
    return value === attribute.value ? attribute : { kind: 'graph', value };
  }
  if (attribute.kind !== 'graphs') return attribute;
  const value = attribute.value.map(change);
  return value.every((graph, i) => graph === attribute.value[i])
    ? attribute
    : { kind: 'graphs', value };
}

/**
 * A graph under other names.
 * @param outer what it reads from outside → the new name
 * @param inner what is defined in it at any depth → the new name
 */
export function renameIn(
  graph: Subgraph,
  outer: ReadonlyMap<string, string>,
  inner: ReadonlyMap<string, string> = new Map(),
): Subgraph {
  const own = definedIn(graph);
  // A name that the graph defines itself hides the outer one.
  const map = new Map([...outer].filter(([name]) => !own.has(name)));
  for (const name of own) {
    const to = inner.get(name);
    if (to !== undefined && to !== name) map.set(name, to);
  }
  if (map.size === 0 && inner.size === 0) return graph;
  const to = (name: string): string => map.get(name) ?? name;
  return {
    name: graph.name,
    inputs: graph.inputs.map(({ name, type }) => ({ name: to(name), type })),
    outputs: graph.outputs.map(to),
    constants: graph.constants.map(({ name, data }) => ({ name: to(name), data })),
    types: new Map([...graph.types].map(([name, type]) => [to(name), type])),
    nodes: graph.nodes.map((node) => ({
      ...node,
      inputs: node.inputs.map(to),
      outputs: node.outputs.map(to),
      attributes: mapAttributes(node.attributes, (attribute) =>
        mapGraphs(attribute, (g) => renameIn(g, map, inner)),
      ),
    })),
  };
}

/** A graph with the attributes of every node in it, at any depth, through `change`. */
export function mapNodeAttributes(
  graph: Subgraph,
  change: (attribute: Attribute) => Attribute | undefined,
): Subgraph {
  const nodes = graph.nodes.map((node) => {
    const attributes = mapAttributes(node.attributes, (attribute) => {
      const changed = change(attribute);
      return changed && mapGraphs(changed, (g) => mapNodeAttributes(g, change));
    });
    return attributes === node.attributes ? node : { ...node, attributes };
  });
  return nodes.every((node, i) => node === graph.nodes[i]) ? graph : { ...graph, nodes };
}
