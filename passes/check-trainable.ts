// Pass check-trainable: refuses models that cannot be trained as they are: quantized ones, and training steps. In: the
// model as it was read. Out: the same, or a diagnostic with the node that gave it away.

import { whyUnsuitable } from '../src/analysis/index.js';
import { DiagnosticError } from '../src/diagnostics/index.js';
import { definePass } from './state.js';

export const checkTrainable = definePass({
  name: 'check-trainable',
  summary: 'refuse quantized models and training steps',
  run: ({ model }) => {
    const found = whyUnsuitable(model);
    if (found) throw new DiagnosticError(found.code, found.where, found.why);
  },
});
