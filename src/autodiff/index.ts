// Gradient graphs: backward pass, recomputed twins, tokens, optimizers.

export * from './backward.js';
export * from './gradients.js';
export * from './parameters.js';
export * from './recompute.js';
export { addScalars, appendUpdates } from './optimizer.js';
export type {
  OptimizerName,
  ScalarRole,
  StateRole,
  StateUpdate,
  Trained,
  WeightUpdate,
} from './optimizer.js';
export * from './token.js';
export * from './views.js';
