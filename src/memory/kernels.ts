// Which results ONNX Runtime's CPU kernels may write over operand 0. In: a node. Out: whether its first result is a
// view of it, or may be written over it. Invariant: follows the kernels' registrations (Alias and MayInplace); the
// result of an operator that is missing here gets memory of its own.

import type { Node } from '../ir/index.js';

/** Operators whose result is operand 0 under another shape or name. */
const VIEWS: ReadonlySet<string> = new Set([
  'Reshape',
  'Flatten',
  'Squeeze',
  'Unsqueeze',
  'Identity',
]);

/**
 * Activations, and little else: the arithmetic kernels (Add, Sub, Mul, Div, Exp, Neg, Sqrt…) are not registered as
 * able to work in place on the CPU. Each needs memory for its result beside all of its operands.
 */
const IN_PLACE: ReadonlySet<string> = new Set([
  'Cast',
  'Clip',
  'Dropout',
  'Elu',
  'HardSigmoid',
  'LeakyRelu',
  'Relu',
  'ScatterElements',
  'ScatterND',
  'Selu',
  'Sigmoid',
  'Softplus',
  'Softsign',
  'Tanh',
  'ThresholdedRelu',
]);

export const isView = (node: Node): boolean => node.domain === '' && VIEWS.has(node.op);

/** Whether the first result may overwrite operand 0 when nobody else reads that any more. */
export const worksInPlace = (node: Node): boolean => node.domain === '' && IN_PLACE.has(node.op);
