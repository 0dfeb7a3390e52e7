// What ONNX Runtime knows of the shapes when it plans memory. In: an ordered graph whose views state less than is
// known of them. Out: for each value a key; two values with the same key are of one size to the planner. Invariant:
// the graph's own types are the same afterwards. A value without a key is never taken to equal another.

import { ELEMENT_BYTES, isStatic } from '../ir/index.js';
import type { Dim, Node, Shape, TensorType, Value } from '../ir/index.js';
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
  const keys = new Map<Value, string | undefined>();
  const exact = new Map<Value, TensorType | undefined>();
  const contents: Contents = new WeakMap();
  /** Nodes that see an extent under a symbol; all others keep the types they have. */
  const symbolic = new Set<Value>();
  try {
    for (const node of order) {
      const stated = node.outputs.some((v) => v?.stated);
      if (!stated && !node.inputs.some((v) => v && symbolic.has(v))) continue;
      for (const value of node.outputs) if (value) exact.set(value, value.type);
      if (stated) {
        for (const value of node.outputs) if (value?.stated) value.type = value.stated;
      } else inferAnew(node, contents);
      for (const value of node.outputs)
        if (value && !isStatic(value.type?.shape)) symbolic.add(value);
    }
    for (const value of exact.keys()) keys.set(value, keyOf(value.type));
  } finally {
    for (const [value, type] of exact) value.type = type;
  }
  return (value) => (keys.has(value) ? keys.get(value) : keyOf(value.type));
}

function inferAnew(node: Node, contents: Contents): void {
  const forget = (): void => {
    for (const value of node.outputs)
      if (value?.type) value.type = { dtype: value.type.dtype, shape: undefined };
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
