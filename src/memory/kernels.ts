// Which results of ONNX Runtime's CPU kernels lie in an operand's memory. In: a node. Out: the operand that a result always
// shares memory with, and the one that the first result may be written over. Invariant: follows the kernels'
// registrations (Alias and MayInplace); the result of an operator that is missing here gets memory of its own.

import { NCHWC } from '../ir/index.js';
import type { Node, Value } from '../ir/index.js';

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

/**
 * The operand in whose memory a result always lies, whoever else reads it: of views, and of batch norm in training, which
 * writes the new statistics over the old.
 */
export function aliased(node: Node, result: number): Value | undefined {
  if (isView(node)) return result === 0 ? node.inputs[0] : undefined;
  const isTraining =
    node.op === 'BatchNormalization' &&
    node.domain === '' &&
    node.attributes.int('training_mode', 0) === 1;
  return isTraining && (result === 1 || result === 2) ? node.inputs[result + 2] : undefined;
}

/** The operand that the first result may overwrite when nobody else reads it any more; a blocked Conv adds to its Sum. */
export function overwritten(node: Node): Value | undefined {
  if (node.domain === NCHWC) return node.op === 'Conv' ? node.inputs[3] : undefined;
  return node.domain === '' && IN_PLACE.has(node.op) ? node.inputs[0] : undefined;
}
