// Graphs that cannot be trained as they are, whatever their blocks look like. In: a model as it was read. Out: where and
// why, or nothing. Invariant: looks at operators and at how values are used, not at names.

import type { Model, Node, Value } from '../ir/index.js';
import { nodeName } from './reasons.js';

export interface Unsuitable {
  readonly code: 'model/quantized' | 'model/training';
  readonly where: string;
  readonly why: string;
}

/** ai.onnx and com.microsoft operators on quantized numbers. */
const QUANTIZED =
  /^(QuantizeLinear|DequantizeLinear|DynamicQuantize|QLinear|QGemm|QAttention|QEmbed|QOrdered|QMoE|ConvInteger|MatMulInteger|MatMulNBits|MatMulFpQ4|MatMulBnb4|GatherBlockQuantized)/;
/** Gradients and optimizers as ONNX, ONNX Runtime's training and Caffe2 call them. */
const GRADIENT =
  /(Grad|Gradient|GradV2)$|^(SGDOptimizer|AdamOptimizer|AdamWOptimizer|LambOptimizer)/;
const TRAINING_DOMAIN = 'ai.onnx.preview.training';
const SGD_AND_THE_LIKE = new Set(['Sub', 'Add']);
/** Operand 1 of these is a matrix or filter. */
const LAYERS = new Set(['Conv', 'ConvTranspose', 'Gemm', 'MatMul']);

const isQuantized = ({ op, domain }: Node): boolean =>
  QUANTIZED.test(op) &&
  (domain === '' || domain === 'ai.onnx' || domain.startsWith('com.microsoft'));

const isGradient = ({ op, domain }: Node): boolean =>
  domain === TRAINING_DOMAIN || GRADIENT.test(op);

/** An output that is a weight moved by something: w' = w − …. */
function updatedWeight(outputs: readonly Value[]): { output: Value; weight: Value } | undefined {
  for (const output of outputs) {
    const { producer } = output;
    if (!producer || producer.domain !== '' || !SGD_AND_THE_LIKE.has(producer.op)) continue;
    const weight = producer.inputs[0];
    if (!weight || weight.producer) continue;
    const isWeight = weight.users.some(
      (user) => user.domain === '' && LAYERS.has(user.op) && user.inputs[1] === weight,
    );
    if (isWeight) return { output, weight };
  }
  return undefined;
}

/** Why the model as a whole cannot be converted; undefined: nothing is in the way. */
export function whyUnsuitable({ graph, metadata }: Model): Unsuitable | undefined {
  const nodes = [...graph.nodes];
  const count = (test: (node: Node) => boolean): number => nodes.filter(test).length;
  const quantized = nodes.find(isQuantized);
  if (quantized)
    return {
      code: 'model/quantized',
      where: `node ${nodeName(quantized)}`,
      why: `${count(isQuantized)} of its ${nodes.length} nodes compute on quantized numbers, which have no gradient`,
    };
  const step = metadata.get('revnetify.step');
  if (step !== undefined)
    return {
      code: 'model/training',
      where: 'its metadata, revnetify.step',
      why: `it is a training step made by revnetify (${step})`,
    };
  const gradient = nodes.find(isGradient);
  if (gradient)
    return {
      code: 'model/training',
      where: `node ${nodeName(gradient)}`,
      why: `${count(isGradient)} of its ${nodes.length} nodes are gradients or optimizers`,
    };
  const updated = updatedWeight(graph.outputs);
  if (updated)
    return {
      code: 'model/training',
      where: `output ${updated.output.name}`,
      why: `it is the new value of the weight ${updated.weight.name}: the graph trains already`,
    };
  return undefined;
}
