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
function substitute(graph: Graph, value: Value, data: ConstantData): Value {
  const { name } = value;
  const constant = graph.addConstant(`${name}.folded`, data);
  graph.replaceUses(value, constant);
  const index = graph.outputs.indexOf(value);
  if (index >= 0) return constant;
  value.name = graph.uniqueName(`${name}.computed`);
  constant.name = name;
  return constant;
}

/** What a weight may go through and still be trained entry by entry. Anything else that is computed from weights (a
 * standardised filter, a table looked up by position) is part of the network: folded, it would be another one. */
const RELABELS = new Set([
  'Identity',
  'Cast',
  'Reshape',
  'Transpose',
  'Squeeze',
  'Unsqueeze',
  'Flatten',
]);

const computesWithWeights = (node: Node, generated: ReadonlySet<Value>): boolean =>
  !RELABELS.has(node.op) &&
  node.inputs.some(
    (v) =>
      v?.constant?.dtype === 'float32' && elementCount(v.constant.dims) > 1 && !generated.has(v),
  );

/** @param generated constants that are made of no weight: masks, tables of positions; what is made here joins them */
function foldNode(graph: Graph, node: Node, generated: Set<Value>): void {
  const [output] = node.outputs;
  if (!output || node.outputs.length !== 1 || graph.outputs.includes(output)) return;
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
  if (computesWithWeights(node, generated)) return;
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
  const folded = substitute(
    graph,
    output,
    small ? new InlineData(compute()) : new DeferredData(type.dtype, type.shape, compute),
  );
  if (!RELABELS.has(node.op) || generated.has(node.input(0))) generated.add(folded);
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
  if (operand.constant) return false;
  if (!graph.outputs.includes(output)) return true;
  return operand.producer !== undefined && !graph.outputs.includes(operand);
}

export const foldConstants = definePass({
  name: 'fold-constants',
  summary:
    'turn Constant nodes, shape arithmetic and generated weights into constants; drop identities',
  run: ({ model: { graph } }) => {
    graph.sort();
    const { contents } = inferTypes(graph);
    const generated = new Set<Value>();
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
      if (known && isStatic(known) && isStatic(dims) && !graph.outputs.includes(output))
        substitute(
          graph,
          output,
          new InlineData(Tensor.of(output.type?.dtype ?? 'int64', dims, known)),
        );
      else foldNode(graph, node, generated);
    }
    graph.removeDead();
  },
});
