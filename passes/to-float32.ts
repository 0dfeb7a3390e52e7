// Pass to-float32: a network of another precision becomes one of float32, which is what the compiler trains. In: a
// graph with float16, bfloat16 or float64 anywhere: inputs, weights, constants, casts. Out: the same graph with
// float32 there. Invariant: names, shapes and integers stay, and no weight is read here: each is converted when
// its bytes are asked for.

import { int, isFloat, tensor } from '../src/ir/index.js';
import type { Attribute, DataType, Graph, Node } from '../src/ir/index.js';
import { asFloat32, isOtherFloat } from '../src/onnx/index.js';
import { elementCode, elementType } from '../src/ops/index.js';
import { definePass } from './state.js';

/** Attributes that name the element type of a result. */
const TYPE_ATTRIBUTES = ['to', 'dtype'];

/** What has to change in the attributes of a node. */
function changesOf(node: Node, seen: Set<DataType>): Record<string, Attribute> {
  const changes: Record<string, Attribute> = {};
  for (const [name, attribute] of node.attributes.entries()) {
    const dtype =
      attribute.kind === 'tensor'
        ? attribute.value.dtype
        : attribute.kind === 'int' && TYPE_ATTRIBUTES.includes(name)
          ? elementType(attribute.value)
          : undefined;
    if (dtype === undefined || !isOtherFloat(dtype)) continue;
    seen.add(dtype);
    changes[name] =
      attribute.kind === 'tensor'
        ? tensor(asFloat32(attribute.value))
        : int(elementCode('float32'));
  }
  return changes;
}

/** @returns the float types that were replaced */
export function floatsToFloat32(graph: Graph): Set<DataType> {
  const seen = new Set<DataType>();
  for (const value of graph.values()) {
    const { type, constant } = value;
    if (constant && isOtherFloat(constant.dtype)) value.constant = asFloat32(constant);
    if (!type || !isOtherFloat(type.dtype)) continue;
    seen.add(type.dtype);
    value.type = { dtype: 'float32', shape: type.shape };
  }
  for (const node of graph.nodes) {
    if (node.domain !== '') continue;
    const changes = changesOf(node, seen);
    if (Object.keys(changes).length === 0) continue;
    node.attributes = node.attributes.with(changes);
    node.source = undefined;
  }
  return seen;
}

export const toFloat32 = definePass({
  name: 'to-float32',
  summary: 'bring a network of float16, bfloat16 or float64 to float32',
  run: ({ model: { graph }, notes }) => {
    // What the weights are in, seen before anything changes, is what the network is in.
    const weights = new Set<DataType>();
    for (const { type } of graph.constants)
      if (type && isFloat(type.dtype)) weights.add(type.dtype);
    const seen = floatsToFloat32(graph);
    if (seen.size === 0) return;
    const types = [...seen].sort().join(' and ');
    const mixed = weights.has('float32') || weights.size === 0;
    notes.push(
      mixed
        ? `parts of the model are in ${types}; all of it is converted to float32, in which it is trained`
        : `the model is in ${types}; it is converted to float32, in which it is trained`,
    );
  },
});
