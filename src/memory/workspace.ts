// Scratch memory operators take while they run. In: a node with static shapes. Out: bytes, by what ONNX Runtime's
// CPU kernels allocate. Invariant: 0 for kernels that work in a small fixed buffer.

import { elementCount, isStatic } from '../ir/index.js';
import type { Node, Value } from '../ir/index.js';

const FLOAT = 4;
const dims = (value: Value | undefined): readonly number[] =>
  isStatic(value?.shape) ? value.shape : [];

/** ConvTranspose: one image's column matrix, (outputs per group × kernel) × input positions, and no more. */
function convTranspose(node: Node): number {
  const [, , ...positions] = dims(node.inputs[0]);
  const [, outputs = 0, ...kernel] = dims(node.inputs[1]);
  const isPointwise = kernel.every((k) => k === 1);
  return isPointwise ? 0 : elementCount([outputs, ...kernel, ...positions]) * FLOAT;
}

export function workspaceBytes(node: Node): number {
  return node.op === 'ConvTranspose' && node.domain === '' ? convTranspose(node) : 0;
}
