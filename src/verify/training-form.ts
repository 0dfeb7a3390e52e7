// rev.onnx with batch statistics. In: a network in inference form. Out: the same graph whose BatchNormalization nodes
// have training_mode=1, at a fixed batch. Invariant: nothing else is changed: no pass of the training step's own
// rewriting is involved beyond naming input and logits.

import { bindShapes, appendLoss, createState } from '../../passes/index.js';
import type { CompileState, Settings } from '../../passes/index.js';
import { invariant } from '../diagnostics/index.js';
import { InlineData, Tensor, cloneModel, elementCount, int } from '../ir/index.js';
import type { Model, Value } from '../ir/index.js';

export interface TrainingForm {
  readonly model: Model;
  readonly images: Value;
  readonly logits: Value;
  readonly state: CompileState;
}

export function batchNormTrainingForm(rev: Model, settings: Settings): TrainingForm {
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
  return { model, images: loss.images, logits: loss.logits, state: { ...state, loss } };
}
