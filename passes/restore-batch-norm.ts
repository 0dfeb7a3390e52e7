// Pass restore-batch-norm: puts back what an export folded away. In: a network whose convolutions carry the scale and
// shift of a batch norm in weight and bias. Out: the same function with a BatchNormalization behind each of them, its
// shift the former bias, its scale 1 (the original's cannot be recovered; training estimates it anew). Invariant: in
// inference form the network computes what it did before.

import { findResidualBlocks } from '../src/analysis/index.js';
import { InlineData, Tensor, float } from '../src/ir/index.js';
import type { Graph, Node, Value } from '../src/ir/index.js';
import { Builder } from '../src/ops/index.js';
import { definePass } from './state.js';

const EPSILON = 1e-5;

const HOW_TO_EXPORT =
  'to keep it, export with torch.onnx.export(model.eval(), …, training=torch.onnx.TrainingMode.PRESERVE, do_constant_folding=False)';

/** Networks with one of these were not trained with batch norm in every layer. */
const OTHER_NORMALISATION = new Set([
  'LayerNormalization',
  'InstanceNormalization',
  'GroupNormalization',
  'LpNormalization',
]);

/** What follows a batch norm in a residual network: an activation, the Add, a pooling. */
const FOLLOWERS = new Set([
  'Relu',
  'Clip',
  'LeakyRelu',
  'Elu',
  'HardSwish',
  'HardSigmoid',
  'Sigmoid',
  'Softplus',
  'Tanh',
  'Mul',
  'Add',
  'Sum',
  'MaxPool',
]);

/** A convolution with a bias of its own where one before a batch norm would have none. */
function isFolded(node: Node, graph: Graph): boolean {
  if (node.op !== 'Conv' || node.domain !== '') return false;
  const [, weight, bias] = node.inputs;
  if (!weight?.constant || !bias?.constant) return false;
  const result = node.output();
  if (graph.outputs.includes(result) || result.users.length === 0) return false;
  if (!result.users.every((user) => user.domain === '' && FOLLOWERS.has(user.op))) return false;
  // Squeeze-and-excitation: maps of one pixel, which have no batch norm.
  const spatial = result.shape?.slice(2) ?? [];
  return spatial.length > 0 && !spatial.every((d) => d === 1);
}

function restore(node: Node, graph: Graph, root: Builder): void {
  const bias = node.input(2);
  const channels = bias.constant?.dims[0] ?? 0;
  const b = root.within({ path: `${node.name}/restored` });
  const vector = (name: string, value: number): Value => {
    const tensor = Tensor.zeros('float32', [channels]);
    tensor.data.fill(value);
    return graph.addConstant(`${node.name}/restored.${name}`, new InlineData(tensor));
  };
  node.truncateInputs(2);
  const result = node.output();
  const readers = new Set(result.users);
  const normal = b.op(
    'BatchNormalization',
    [result, vector('scale', 1), bias, vector('mean', 0), vector('variance', 1 - EPSILON)],
    { attributes: { epsilon: float(EPSILON) }, name: 'bn' },
  );
  graph.replaceUses(result, normal, (use) => readers.has(use.node));
}

export const restoreBatchNorm = definePass({
  name: 'restore-batch-norm',
  summary: 'put back batch norm that an export folded into its convolutions',
  settings: ['batchNorm'],
  run: ({ model: { graph }, settings, notes }) => {
    const nodes = [...graph.nodes];
    if (nodes.some((node) => OTHER_NORMALISATION.has(node.op))) return;
    const folded = nodes.filter((node) => isFolded(node, graph));
    const branches = new Set(findResidualBlocks(graph).flatMap((block) => block.branch));
    if (!folded.some((node) => branches.has(node))) return;
    const found = `${folded.length} convolutions carry a bias and have no batch norm: the export folded it away`;
    if (settings.batchNorm === 'keep' || settings.recipe === 'none') {
      notes.push(`${found}; ${HOW_TO_EXPORT}`);
      return;
    }
    const root = new Builder(graph, { phase: 'forward', path: 'restored' });
    for (const node of folded) restore(node, graph, root);
    graph.sort();
    notes.push(
      `${found}. It was put back with scale 1 and the bias as shift; the scale and the running statistics of the original ` +
        `are lost and have to be trained again (--batch-norm keep leaves the model as it is); ${HOW_TO_EXPORT}`,
    );
  },
});
