// Calls of a model's own functions → their bodies. In: a model, and which nodes are not in the model's opset. Out:
// no call in the graph itself; functions that nothing calls any more are dropped. Invariant: values keep their names,
// and nodes that a function writes in another opset than the model's are noted.

import { DiagnosticError } from '../../diagnostics/index.js';
import { mapGraphs, mapAttributes, renameIn, renamedCaptures } from '../../ir/index.js';
import type { Attribute, BodyNode, LocalFunction, Model, Node, Subgraph } from '../../ir/index.js';
import { lookUp, placeNodes, replaceNode } from './place.js';
import type { Scope } from './place.js';

/** The opset that a node is written in, where it is not the model's. */
export type NodeOpsets = Map<Node, number>;

/** Functions that double at every level are an attack, not a network. */
const MAX_NODES = 100_000;

const keyOf = (domain: string, name: string, overload: string): string =>
  JSON.stringify([domain, name, overload]);

/**
 * @param opsets filled in for nodes from functions that import another version of ai.onnx than the model
 * @param maxNodes beyond which the model is refused
 * @returns how many calls were replaced
 * @throws DiagnosticError model/invalid
 */
export function inlineFunctions(model: Model, opsets: NodeOpsets, maxNodes = MAX_NODES): number {
  const { graph } = model;
  if (model.functions.length === 0) return 0;
  const functions = new Map<string, LocalFunction>();
  for (const f of model.functions) functions.set(keyOf(f.domain, f.name, f.overload), f);
  const calledBy = ({ domain, op, overload }: Node | BodyNode): LocalFunction | undefined =>
    functions.get(keyOf(domain, op, overload));
  // A model whose own nodes are all calls need not import ai.onnx.
  const versions = model.functions.flatMap((f) => f.opsets.get('') ?? []);
  if (!model.opsets.has('') && versions.length > 0) model.opsets.set('', Math.max(...versions));

  const callers = new Map<Node, readonly LocalFunction[]>();
  const work = [...graph.nodes].reverse();
  let calls = 0;
  for (let node = work.pop(); node; node = work.pop()) {
    const f = calledBy(node);
    if (!f) continue;
    const chain = callers.get(node) ?? [];
    if (chain.includes(f)) throw failure(node, f, 'the function calls itself');
    const placed = inlineCall(model, node, f);
    calls++;
    const version = f.opsets.get('');
    for (const made of placed) {
      callers.set(made, [...chain, f]);
      if (version !== undefined && version !== model.opset) opsets.set(made, version);
    }
    if (graph.nodes.size > maxNodes)
      throw failure(node, f, `written out the functions are more than ${maxNodes} nodes`);
    for (const made of placed.reverse()) work.push(made);
  }
  if (calls > 0) graph.sort();
  model.functions = stillCalled(model, calledBy);
  return calls;
}

const failure = (node: Node, { domain, name }: LocalFunction, why: string): DiagnosticError =>
  new DiagnosticError('model/invalid', `node ${node.name}, which calls ${domain}.${name}`, why);

function inlineCall(model: Model, call: Node, f: LocalFunction): Node[] {
  const { graph } = model;
  const { inputs, outputs, defaults } = f;
  if (call.inputs.length > inputs.length || call.outputs.length > outputs.length)
    throw failure(
      call,
      f,
      `it takes ${inputs.length} operands and gives ${outputs.length} results, not ${call.inputs.length} and ${call.outputs.length}`,
    );
  const rename = renamedCaptures(call);
  const given = mapAttributes(call.attributes, (a) => mapGraphs(a, (g) => renameIn(g, rename)));
  const scope: Scope = new Map(inputs.map((name, i) => [name, call.inputs[i]]));
  const where = `function ${f.domain}.${f.name}`;
  const placed = placeNodes(graph, f.nodes, scope, {
    prefix: call.name,
    where,
    // Without a value it is left out, and the operator has its own default.
    refer: (name) => given.get(name) ?? defaults.get(name),
    around: [...call.captures],
  });
  for (const node of placed) {
    node.phase = call.phase;
    node.unit = call.unit;
    node.origin = call.origin;
  }
  const results = call.outputs.map((value, i) =>
    value ? lookUp(scope, outputs[i] ?? '', where) : undefined,
  );
  call.outputs.forEach((value, i) => {
    if (value && !results[i] && (value.isUsed || graph.outputs.includes(value)))
      throw failure(call, f, `result ${outputs[i] ?? ''} is an operand that is left out`);
  });
  replaceNode(graph, call, results, placed);
  return placed;
}

/** Functions that graphs inside nodes (a branch of If) still call, and those that these call. */
function stillCalled(
  { graph, functions }: Model,
  calledBy: (node: BodyNode) => LocalFunction | undefined,
): LocalFunction[] {
  const called = new Set<LocalFunction>();
  const visitAttribute = (attribute: Attribute): Attribute =>
    mapGraphs(attribute, (g: Subgraph) => {
      g.nodes.forEach(visit);
      return g;
    });
  const visit = (node: BodyNode): void => {
    const f = calledBy(node);
    if (f && !called.has(f)) {
      called.add(f);
      f.nodes.forEach(visit);
    }
    mapAttributes(node.attributes, visitAttribute);
  };
  for (const node of graph.nodes) mapAttributes(node.attributes, visitAttribute);
  return functions.filter((f) => called.has(f));
}
