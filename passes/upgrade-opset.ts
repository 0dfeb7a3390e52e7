// Pass upgrade-opset: brings every node to opset 17. In: a model of opset 7 to 24. Out: the same function, each
// node in the form of opset 17. Invariant: values keep their names;
// graphs inside nodes (the branches of If) stay as they are, and their opset is noted.
//
// Why 17: nearly all exports are of opset 9 to 17, and going up loses nothing. 17 has everything a training
// step needs (the training mode of BatchNormalization since 14, adding ScatterElements since 16, and
// LayerNormalization), and it still loads in every ONNX Runtime from 1.12 on. Above it nothing came that a
// training step needs, while reductions changed their form at 18; what newer exports use of it is taken back.

import { convertOpset } from '../src/rewrite/upgrades/index.js';
import { definePass } from './state.js';

export const upgradeOpset = definePass({
  name: 'upgrade-opset',
  summary: 'bring every node to opset 17',
  run: ({ model, opsets }) => {
    convertOpset(model, opsets);
  },
});
