// What ONNX Runtime knows of the shapes when it plans memory. In: an ordered graph whose views state less than is
// known of them. Out: for each value a key; two values with the same key are of one size to the planner. Invariant:
// the graph's own types are the same afterwards. A value without a key is never taken to equal another.

import { ELEMENT_BYTES, isStatic, number } from '../ir/index.js';
import type { DataType, Dim, Node, Shape, TensorType, Use, Value } from '../ir/index.js';
import { findOp, inferNode } from '../ops/index.js';
import type { Contents } from '../ops/index.js';

/** ONNX's own inference names an extent only by copying it: products and fresh symbols have no name there. */
const isNamed = (dim: Dim): boolean =>
  typeof dim === 'number' || !(dim.startsWith('?') || dim.includes('*'));

function keyOf(type: TensorType | undefined): string | undefined {
  // A scalar never takes over a buffer nor gives one away by shape.
  if (!type?.shape?.length || !type.shape.every(isNamed)) return undefined;
  return `${ELEMENT_BYTES[type.dtype]}:${type.shape.join(',')}`;
}

/**
 * The extent that a Reshape computes from the others (−1): a number, or unknown. ONNX's inference does not divide
 * products of symbols, so it never finds a symbol again that a Reshape has merged with its neighbour.
 */
function openExtent(node: Node, shape: Shape | undefined): Shape | undefined {
  const target = node.op === 'Reshape' ? node.inputs[1]?.constant?.load().data : undefined;
  const open = target?.indexOf(-1) ?? -1;
  return shape?.map((dim, i) => (i === open && typeof dim === 'string' ? `?${node.name}` : dim));
}

/** @param order every node of the graph, producers first */
export function plannerShapes(order: Iterable<Node>): (value: Value) => string | undefined {
  /** Values that it may know less of: their own type, and the key of the other. */
  const seen = new Map<
    Value,
    { readonly exact: TensorType | undefined; key?: string | undefined }
  >();
  const contents: Contents = new WeakMap();
  // Nodes that see an extent under a symbol are typed anew; all others keep the types they have.
  const nodes = [...order];
  const isTypedAnew = new Uint8Array(number(nodes));
  const mark = ({ node, index }: Use): void => {
    if (index >= 0) isTypedAnew[node.place] = 1;
  };
  try {
    for (const node of nodes) {
      const { outputs } = node;
      const stated = outputs.some((v) => v?.stated);
      if (!stated && isTypedAnew[node.place] === 0) continue;
      for (const value of outputs) if (value) seen.set(value, { exact: value.type });
      if (stated) {
        for (const value of outputs) if (value?.stated) value.type = value.stated;
      } else inferAnew(node, contents);
      for (const value of outputs) if (!isStatic(value?.type?.shape)) value?.forEachUse(mark);
    }
    for (const [value, entry] of seen) entry.key = keyOf(value.type);
  } finally {
    for (const [value, { exact }] of seen) value.type = exact;
  }
  return (value) => {
    const entry = seen.get(value);
    return entry ? entry.key : keyOf(value.type);
  };
}

/** Of element types, a type whose rank is not known. */
const unknownTypes = new Map<DataType, TensorType>();

function unknownType(dtype: DataType): TensorType {
  const type = unknownTypes.get(dtype) ?? { dtype, shape: undefined };
  unknownTypes.set(dtype, type);
  return type;
}

function inferAnew(node: Node, contents: Contents): void {
  const forget = (): void => {
    for (const value of node.outputs) if (value?.type) value.type = unknownType(value.type.dtype);
  };
  if (!findOp(node) || node.inputs.some((v) => v && v.type?.shape === undefined)) {
    forget();
    return;
  }
  try {
    inferNode(node, contents);
  } catch {
    // What our inference cannot express under a symbol, ONNX Runtime's has no name for either.
    forget();
    return;
  }
  const [value] = node.outputs;
  if (value?.type)
    value.type = { dtype: value.type.dtype, shape: openExtent(node, value.type.shape) };
}
