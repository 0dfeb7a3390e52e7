// Pass batchnorm-inference: every BatchNormalization in its inference form, one output, running statistics as
// operands. In: any of the three export forms (after upgrade-opset). Out: the form rev.onnx is written in.

import { int } from '../src/ir/index.js';
import { definePass } from './state.js';

export const batchNormInference = definePass({
  name: 'batchnorm-inference',
  summary: 'bring every batch norm into its inference form',
  run: ({ model: { graph } }) => {
    for (const node of [...graph.nodes]) {
      if (node.op !== 'BatchNormalization' || node.domain !== '') continue;
      if (node.attributes.int('training_mode', 0) === 0 && node.outputs.length === 1) continue;
      node.attributes = node.attributes.with({ training_mode: int(0) });
      node.source = undefined;
      for (const extra of node.outputs.splice(1)) {
        const index = extra ? graph.outputs.indexOf(extra) : -1;
        if (index >= 0) graph.outputs.splice(index, 1);
      }
    }
  },
});
