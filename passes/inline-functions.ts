// Pass inline-functions: calls of functions that the model itself defines become the bodies of these. In: a model as
// read. Out: no function and no call of one, except in branches of If that are not decided yet. Invariant: values keep
// their names; nodes that are written in another opset than the model's are noted in state.opsets.

import { inlineFunctions } from '../src/rewrite/inline/index.js';
import { definePass } from './state.js';

export const inlineFunctionsPass = definePass({
  name: 'inline-functions',
  summary: "replace calls of the model's own functions by their bodies",
  run: ({ model, opsets, notes }) => {
    const calls = inlineFunctions(model, opsets);
    if (calls > 0)
      notes.push(`${calls} call${calls === 1 ? '' : 's'} of the model's own functions written out`);
  },
});
