// Pass find-couplings: couplings that are there already, in an exported RevNet or in rev.onnx itself. In: a typed graph.
// Out: state.chains holds them; their Adds are not looked at as residual blocks. Invariant: nothing is rewritten.

import { findCoupledChains } from '../src/reversible/index.js';
import { definePass } from './state.js';

export const findCouplings = definePass({
  name: 'find-couplings',
  summary: 'find couplings that are there already, to be reused',
  run: (state) => {
    state.chains = findCoupledChains(state.model.graph);
  },
});
