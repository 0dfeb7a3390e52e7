// Pass fold-constants: what can be known before training becomes a constant. In: exporters' Constant nodes,
// shape arithmetic, weights made by ConstantOfShape. Out: constants under the same names. Invariant: float
// results are computed only when someone asks for their elements, so that large weights stay cheap.

import { inferTypes } from '../src/analysis/index.js';
import { InlineData, Tensor, elementCount, encodeElements, isStatic } from '../src/ir/index.js';
import type { ConstantData, DataType, Graph, Node, Value } from '../src/ir/index.js';
import { drawsAtRandom, elementCode, evaluateNode, findOp } from '../src/ops/index.js';
import { definePass } from './state.js';

/** A folded tensor whose elements are computed when they are asked for. */
class DeferredData implements ConstantData {
  constructor(
    readonly dtype: DataType,
    readonly dims: readonly number[],
    private readonly compute: () => Tensor,
  ) {}
  load(): Tensor {
    return this.compute();
  }
  bytes(): Uint8Array {
    return encodeElements(this.dtype, this.load().data);
  }
}

/** Replaces a value by a constant of the same name. */
function substitute(graph: Graph, value: Value, data: ConstantData): void {
  const { name } = value;
  const constant = graph.addConstant(`${name}.folded`, data);
  graph.replaceUses(value, constant);
  const index = graph.outputs.indexOf(value);
  if (index >= 0) return;
  value.name = graph.uniqueName(`${name}.computed`);
  constant.name = name;
}

const readable = (value: Value): boolean => value.uses.every((use) => use.index >= 0);

function foldNode(graph: Graph, node: Node): void {
  const [output] = node.outputs;
  if (!output || node.outputs.length !== 1 || !readable(output) || graph.outputs.includes(output))
    return;
  const attribute = node.op === 'Constant' ? node.attributes.tensor('value') : undefined;
  if (attribute) {
    substitute(graph, output, attribute);
    return;
  }
  if (!node.inputs.every((v) => v === undefined || v.constant !== undefined)) return;
  if (drawsAtRandom(node)) return;
  if (changesNothing(node) && node.inputs[0]?.constant) {
    substitute(graph, output, node.inputs[0].constant);
    return;
  }
  if (node.captures.length > 0 || !findOp(node) || node.domain !== '') return;
  const { type } = output;
  if (!type || !isStatic(type.shape)) return;
  const operands = node.inputs.map((v) => v?.constant);
  const compute = (): Tensor => {
    const [result] = evaluateNode(
      node,
      operands.map((c) => c?.load()),
    );
    if (!result) throw new Error(`internal error: ${node.op} gave no result`);
    return result;
  };
  const small = elementCount(type.shape) <= 1024;
  substitute(
    graph,
    output,
    small ? new InlineData(compute()) : new DeferredData(type.dtype, type.shape, compute),
  );
}

/** Identity, and a Cast to the type that the operand has. */
function changesNothing(node: Node): boolean {
  if (node.op === 'Identity') return true;
  const dtype = node.inputs[0]?.type?.dtype;
  return (
    node.op === 'Cast' && dtype !== undefined && elementCode(dtype) === node.attributes.int('to')
  );
}

/** Whether the operand of a transparent node can take the place of its result. */
function replaces(graph: Graph, operand: Value, output: Value): boolean {
  if (operand.constant || !readable(output)) return false;
  if (!graph.outputs.includes(output)) return true;
  return operand.producer !== undefined && readable(operand) && !graph.outputs.includes(operand);
}

export const foldConstants = definePass({
  name: 'fold-constants',
  summary:
    'turn Constant nodes, shape arithmetic and generated weights into constants; drop identities',
  run: ({ model: { graph } }) => {
    graph.sort();
    const { contents } = inferTypes(graph);
    for (const node of [...graph.nodes]) {
      const [output] = node.outputs;
      const [operand] = node.inputs;
      if (!output) continue;
      // An Identity of a weight gives it a name of its own: exporters merge tensors that happen to be equal at
      // export (all the gammas of a fresh network), and those must be trained apart.
      if (
        node.domain === '' &&
        changesNothing(node) &&
        operand &&
        replaces(graph, operand, output)
      ) {
        graph.replaceValue(output, operand);
        continue;
      }
      const known = contents.get(output);
      const dims = output.type?.shape;
      if (
        known &&
        isStatic(known) &&
        isStatic(dims) &&
        readable(output) &&
        !graph.outputs.includes(output)
      )
        substitute(
          graph,
          output,
          new InlineData(Tensor.of(output.type?.dtype ?? 'int64', dims, known)),
        );
      else foldNode(graph, node);
    }
    graph.removeDead();
  },
});
