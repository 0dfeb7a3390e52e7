// Brings a model to the working opset. In: a model of opset 7 to 24. Out: the same function at opset 17.
// Invariant: nodes are converted in execution order and typed as they are, so that each change sees the types
// of its operands; a change that cannot be expressed is refused, never guessed.

import { DiagnosticError } from '../../diagnostics/index.js';
import { isFloat } from '../../ir/index.js';
import type { DataType, Dim, Graph, Model, Node, Value } from '../../ir/index.js';
import { WORKING_OPSET } from '../../ops/index.js';
import type { Contents } from '../../ops/index.js';
import { isControlFlow } from '../inline/index.js';
import type { NodeOpsets } from '../inline/index.js';
import { Conversion, tryInfer } from './conversion.js';
import type { Change } from './conversion.js';
import { meaningChanges } from './meanings.js';
import { INTRODUCED, newerChanges } from './newer.js';
import { newerNormChanges } from './newer-norms.js';
import { operandChanges } from './operands.js';

export { tryInfer };

const OLDEST = 7;
const NEWEST = 24;

/** The IR version that belongs to opset 17; before 4 every initializer had to be a graph input too. */
const IR_VERSION = 8;

const changes = new Map<string, Change[]>();
for (const change of [...operandChanges, ...meaningChanges, ...newerChanges, ...newerNormChanges])
  for (const op of change.ops) changes.set(op, [...(changes.get(op) ?? []), change]);

const applies = (change: Change, opset: number): boolean =>
  change.direction === 'up' ? opset < change.at : opset >= change.at;

/** Element type of the first float weight or input. */
function floatTypeOf(graph: Graph): DataType {
  for (const value of graph.values())
    if (value.type && isFloat(value.type.dtype)) return value.type.dtype;
  return 'float32';
}

const isStandard = (node: Node): boolean => node.domain === '' || node.domain === 'ai.onnx';

function convert(conversion: Conversion): void {
  const { node, opset } = conversion;
  // An operator may become another one that changed as well (Upsample → Resize): look again.
  const done = new Set<Change>();
  for (let next; ;) {
    next = changes.get(node.op)?.find((change) => !done.has(change) && applies(change, opset));
    if (!next) break;
    done.add(next);
    next.convert(conversion);
  }
  const introduced = isStandard(node) ? INTRODUCED[node.op] : undefined;
  if (introduced !== undefined && opset >= introduced)
    conversion.fail(`the operator came with opset ${introduced}, the compiler works at 17`);
}

function expectKnown(opset: number, where: string, missing: boolean): void {
  if (opset >= OLDEST && opset <= NEWEST) return;
  const why = missing
    ? 'it imports no version of ai.onnx, so what its operators mean is not said'
    : `it is written in opset ${opset}; ${OLDEST} to ${NEWEST} can be converted`;
  throw new DiagnosticError('model/opset', where, why);
}

/**
 * Converts a model to the working opset.
 * @param opsets nodes in another opset than the model's; in the end those whose inner graphs are still in theirs
 * @throws DiagnosticError model/opset when a node cannot be converted
 */
export function convertOpset(model: Model, opsets: NodeOpsets = new Map()): void {
  const { graph, opset } = model;
  if (opset === WORKING_OPSET && opsets.size === 0) return;
  expectKnown(opset, 'the model', !model.opsets.has('') && !model.opsets.has('ai.onnx'));
  graph.sort();
  const contents: Contents = new WeakMap<Value, readonly Dim[]>();
  const floatType = floatTypeOf(graph);
  for (const node of [...graph.nodes]) {
    const written = opsets.get(node) ?? opset;
    opsets.delete(node);
    expectKnown(written, `node ${node.name} (${node.op}), from a function of the model`, false);
    if (isControlFlow(node)) opsets.set(node, written);
    else if (isStandard(node) && written !== WORKING_OPSET)
      convert(new Conversion(graph, node, written, contents, floatType));
    tryInfer(node, contents);
  }
  graph.sort();
  for (const value of [...graph.constants])
    if (!value.isUsed && !graph.outputs.includes(value) && !graph.inputs.includes(value))
      graph.removeConstant(value);
  model.opsets.delete('ai.onnx');
  model.opsets.set('', WORKING_OPSET);
  model.irVersion = Math.max(model.irVersion, IR_VERSION);
}
