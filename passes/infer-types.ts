// Pass infer-types: a type on every value that can be typed.

import { inferTypes } from '../src/analysis/index.js';
import { definePass } from './state.js';

export const inferTypesPass = definePass({
  name: 'infer-types',
  summary: 'give every value its element type and shape',
  run: ({ model }) => {
    model.graph.sort();
    inferTypes(model.graph);
  },
});
