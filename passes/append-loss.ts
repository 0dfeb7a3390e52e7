// Pass append-loss: the network ends in a scalar to minimise. In: a classifier with static shapes. Out: labels as
// an input, mean cross-entropy (with smoothed labels if asked for) and the number of correct answers. Invariant: the loss sees logits; a final
// Softmax, which the loss contains, is dropped.

import { DiagnosticError, invariant } from '../src/diagnostics/index.js';
import { formatType, int, isStatic, string } from '../src/ir/index.js';
import type { Graph, Value } from '../src/ir/index.js';
import { Builder } from '../src/ops/index.js';
import { dataInputs } from './free-batch.js';
import { definePass } from './state.js';

const ONNX_FLOAT = 1;

/** The output that holds one score per class, without a final Softmax. */
function findLogits(graph: Graph): Value {
  for (const output of graph.outputs) {
    const { type } = output;
    if (type?.dtype !== 'float32' || !isStatic(type.shape) || type.shape.length < 2) continue;
    const [, classes, ...rest] = type.shape;
    if (classes === undefined || classes < 2 || rest.some((d) => d !== 1)) continue;
    const last = output.producer;
    const isSoftmax = last?.domain === '' && (last.op === 'Softmax' || last.op === 'LogSoftmax');
    return isSoftmax ? last.input(0) : output;
  }
  throw new DiagnosticError(
    'model/no-logits',
    'outputs of the model',
    graph.outputs.map((v) => `${v.name}: ${formatType(v.type)}`).join('; '),
  );
}

/** (1 − ε)·nll + ε·(mean over all classes of −log p), as torch's CrossEntropyLoss(label_smoothing=ε). */
function smooth(nll: Value, logs: Value, share: number, b: Builder): Value {
  const spread = b.op('ReduceMean', [logs], { attributes: { keepdims: int(0) }, name: 'spread' });
  const hard = b.op('Mul', [nll, b.scalar(1 - share)], { name: 'hardShare' });
  return b.op('Sub', [hard, b.op('Mul', [spread, b.scalar(share)], { name: 'softShare' })], {
    name: 'loss',
  });
}

export const appendLoss = definePass({
  name: 'append-loss',
  summary: 'append mean cross-entropy and the count of correct answers',
  run: (state) => {
    const { graph } = state.model;
    const [images] = dataInputs(graph);
    if (!images || dataInputs(graph).length !== 1)
      throw new DiagnosticError(
        'model/invalid',
        'inputs of the model',
        `training feeds one input, the model has ${dataInputs(graph).length}`,
      );
    const b = new Builder(graph, { phase: 'forward', path: 'loss' });
    let logits = findLogits(graph);
    const shape = logits.shape ?? [];
    if (shape.length > 2)
      logits = b.op('Flatten', [logits], { attributes: { axis: int(1) }, name: 'logits' });
    const labels = graph.addInput('labels', { dtype: 'int64', shape: [state.settings.batch] });
    const { labelSmoothing } = state.settings;
    const [nll, logs] = b.node('SoftmaxCrossEntropyLoss', [logits, labels], {
      attributes: { reduction: string('mean') },
      outputs: 2,
      name: labelSmoothing > 0 ? 'hard' : 'loss',
    }).outputs;
    invariant(nll && logs, 'a loss has two outputs');
    const loss = labelSmoothing > 0 ? smooth(nll, logs, labelSmoothing, b) : nll;
    const best = b.op('ArgMax', [logits], {
      attributes: { axis: int(1), keepdims: int(0) },
      name: 'best',
    });
    const hits = b.op('Cast', [b.op('Equal', [best, labels], { name: 'hit' })], {
      attributes: { to: int(ONNX_FLOAT) },
      name: 'hits',
    });
    const correct = b.op('ReduceSum', [hits], {
      attributes: { keepdims: int(0) },
      name: 'correct',
    });
    graph.outputs.splice(0, graph.outputs.length, loss, correct);
    graph.removeDead();
    state.loss = { images, labels, logits, loss, correct };
  },
});
