// Pass batchnorm-training: every batch norm uses the statistics of its batch. In: inference-form nodes of a
// graph with static shapes. Out: BatchNormTrain nodes, and where each one's running statistics live.
// Invariant: a node keeps its identity, so that chains and units that name its values stay true.

import { Attributes, float, isStatic } from '../src/ir/index.js';
import type { Graph, Node, Value } from '../src/ir/index.js';
import { REVNETIFY, inferNode } from '../src/ops/index.js';
import { definePass } from './state.js';
import type { RunningStatistics } from './state.js';

/** The attribute's default in every opset. */
const DEFAULT_EPSILON = 1e-5;
const DEFAULT_MOMENTUM = 0.9;

/** Running statistics that exporters let several batch norms share (equal at export) are told apart. */
function own(graph: Graph, node: Node, index: number): Value {
  const value = node.input(index);
  if (value.uses.length === 1 || !value.constant) return value;
  const copy = graph.addConstant(
    `${node.output().name}.${index === 3 ? 'mean' : 'var'}`,
    value.constant,
  );
  node.setInput(index, copy);
  return copy;
}

export const batchNormTraining = definePass({
  name: 'batchnorm-training',
  summary: 'let every batch norm use batch statistics and record its running ones',
  run: (state) => {
    const { graph } = state.model;
    const statistics: RunningStatistics[] = [];
    for (const node of graph.nodes) {
      if (node.op !== 'BatchNormalization' || node.domain !== '') continue;
      const shape = node.input(0).shape;
      const [runningMean, runningVariance] = [own(graph, node, 3), own(graph, node, 4)];
      const momentum = node.attributes.float('momentum', DEFAULT_MOMENTUM);
      const epsilon = node.attributes.float('epsilon', DEFAULT_EPSILON);
      node.truncateInputs(3);
      for (const value of [runningMean, runningVariance])
        if (value.constant) graph.constantToInput(value);
      node.op = 'BatchNormTrain';
      node.domain = REVNETIFY;
      node.attributes = new Attributes({ epsilon: float(epsilon) });
      const name = node.output().name;
      const batchMean = graph.addOutput(node, `${name}.mean`);
      const batchVariance = graph.addOutput(node, `${name}.variance`);
      inferNode(node);
      const count = isStatic(shape) ? shape.reduce((n, d) => n * d, 1) / (shape[1] ?? 1) : 0;
      statistics.push({ runningMean, runningVariance, batchMean, batchVariance, momentum, count });
    }
    state.statistics = statistics;
  },
});
