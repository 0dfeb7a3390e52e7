// If with a condition that is known → the branch that is taken. In: a graph whose constants are folded. Out: the same
// function without such an If. Invariant: values keep their names; the nodes of a branch are noted as written in the
// opset of the If they come from.

import { DiagnosticError } from '../../diagnostics/index.js';
import { namesIn } from '../../ir/index.js';
import type { Graph, Node } from '../../ir/index.js';
import type { NodeOpsets } from './functions.js';
import { lookUp, placeNodes, replaceNode } from './place.js';
import type { Scope } from './place.js';

/** Operators whose bodies are graphs of their own. */
const WITH_BODIES: ReadonlySet<string> = new Set(['If', 'Loop', 'Scan', 'SequenceMap']);

/** Tells control flow from other operators. */
export const isControlFlow = ({ domain, op }: Node): boolean =>
  domain === '' && WITH_BODIES.has(op);

/** @returns how many nodes were replaced */
export function inlineBranches(graph: Graph, opsets: NodeOpsets): number {
  let count = 0;
  for (const node of [...graph.nodes]) {
    const condition = node.inputs[0]?.constant;
    if (!isControlFlow(node) || node.op !== 'If' || !condition) continue;
    if (condition.dims.reduce((n, d) => n * d, 1) !== 1) continue;
    inlineBranch(graph, node, condition.load().data[0] !== 0, opsets);
    count++;
  }
  if (count > 0) graph.sort();
  return count;
}

function inlineBranch(graph: Graph, node: Node, condition: boolean, opsets: NodeOpsets): void {
  const name = condition ? 'then_branch' : 'else_branch';
  const where = `node ${node.name} (If), ${name}`;
  const branch = node.attributes.get(name);
  if (branch?.kind !== 'graph') throw new DiagnosticError('model/invalid', where, 'it is missing');
  const { constants, nodes, outputs } = branch.value;
  const { captures } = namesIn(node.attributes.entries());
  const scope: Scope = new Map();
  [...captures].forEach((outer, i) => scope.set(outer, node.captures[i]));
  // A branch may define what the other one reads from outside.
  for (const made of nodes) for (const output of made.outputs) scope.delete(output);
  for (const { name: constant, data } of constants)
    scope.set(constant, graph.addConstant(`${node.name}/${constant}`, data));
  const placed = placeNodes(graph, nodes, scope, { prefix: node.name, where });
  const opset = opsets.get(node);
  for (const made of placed) {
    made.phase = node.phase;
    made.unit = node.unit;
    made.origin = node.origin;
    if (opset !== undefined) opsets.set(made, opset);
  }
  const results = node.outputs.map((_, i) => lookUp(scope, outputs[i] ?? '', where));
  opsets.delete(node);
  replaceNode(graph, node, results, placed);
}

/** @throws DiagnosticError op/unsupported for the first node that is control flow */
export function refuseControlFlow(graph: Graph): void {
  for (const node of graph.nodes) {
    if (!isControlFlow(node)) continue;
    const why =
      node.op === 'If'
        ? `its condition (${node.inputs[0]?.name ?? 'left out'}) depends on the data, so which branch to differentiate is not known before it runs`
        : 'control flow has no fixed schedule of what to keep and what to recompute';
    throw new DiagnosticError(
      'op/unsupported',
      `node ${node.name} (${node.op})`,
      why,
      'export the model by tracing (torch.onnx.export without torch.jit.script), for one fixed path',
    );
  }
}
