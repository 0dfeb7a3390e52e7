// rev.onnx with batch statistics and dropout. In: a network in inference form. Out: the same graph whose
// BatchNormalization nodes have training_mode=1, and whose Dropout nodes are products with masks that are fed, at a fixed
// batch. Invariant: nothing else is changed: no pass of the training step's own
// rewriting is involved beyond naming input and logits.

import { bindShapes, appendLoss, createState } from '../../passes/index.js';
import type { CompileState, Settings } from '../../passes/index.js';
import { invariant } from '../diagnostics/index.js';
import { InlineData, Tensor, cloneModel, elementCount, int, isStatic } from '../ir/index.js';
import type { Graph, Model, Value } from '../ir/index.js';
import { randomBits, siteOf, threshold } from '../ops/counter.js';

export interface TrainingForm {
  readonly model: Model;
  readonly images: Value;
  /** The other inputs of the network. */
  readonly sides: readonly Value[];
  readonly logits: Value;
  readonly state: CompileState;
  /** Masks of the Dropout nodes, as operands. */
  readonly masks: ReadonlyMap<Value, Tensor>;
}

/** Masks as ops/counter.ts defines them: how the step computes them plays no part here. */
function feedMasks(graph: Graph, seed: readonly number[]): Map<Value, Tensor> {
  const masks = new Map<Value, Tensor>();
  for (const node of graph.nodes) {
    if (node.op !== 'Dropout' || node.domain !== '') continue;
    const { shape } = node.input(0);
    invariant(isStatic(shape), 'every shape is bound');
    const keep = 1 - (node.inputs[1]?.constant?.load().data[0] ?? 0.5);
    const limit = threshold(keep);
    const bits = randomBits(seed, siteOf(node.output().name), shape);
    const mask = graph.addInput(`${node.output().name}.mask`, { dtype: 'float32', shape });
    masks.set(
      mask,
      Tensor.of(
        'float32',
        shape,
        Array.from(bits, (z) => (z < limit ? 1 / keep : 0)),
      ),
    );
    node.op = 'Mul';
    node.truncateInputs(1);
    node.addInput(mask);
  }
  return masks;
}

export function trainingForm(
  rev: Model,
  settings: Settings,
  seed: readonly number[],
): TrainingForm {
  const { model } = cloneModel(rev);
  const { graph } = model;
  const state = createState(model, settings);
  bindShapes.run(state);
  // The loss tells which input holds images and which value the logits; it is cut off again.
  appendLoss.run(state);
  const { loss } = state;
  invariant(loss, 'append-loss sets the loss');
  graph.outputs.splice(0, graph.outputs.length, loss.logits);
  graph.removeDead();
  const labels = graph.inputs.indexOf(loss.labels);
  if (labels >= 0) graph.inputs.splice(labels, 1);
  const masks = feedMasks(graph, seed);
  let distinct = 0;
  for (const node of graph.nodes) {
    if (node.op !== 'BatchNormalization' || node.domain !== '') continue;
    node.attributes = node.attributes.with({ training_mode: int(1) });
    for (const [index, name] of [
      [3, 'mean'],
      [4, 'var'],
    ] as const) {
      const { constant } = node.input(index);
      invariant(constant, 'the statistics of a batch norm are constants');
      // Sharing running statistics between nodes gives wrong results in ONNX Runtime, which merges short constants that
      // are equal. The result does not depend on them, so each gets values that nothing else has.
      const own = Tensor.of(
        'float32',
        constant.dims,
        new Array<number>(elementCount(constant.dims)).fill(0.1234567 + distinct++),
      );
      node.setInput(
        index,
        graph.addConstant(`${node.output().name}.running_${name}`, new InlineData(own)),
      );
      graph.addOutput(node, `${node.output().name}.new_${name}`);
    }
  }
  const { images, sides, logits } = loss;
  return { model, images, sides, logits, state: { ...state, loss }, masks };
}
