// Facts about a graph that passes act on.

export * from './axis-classes.js';
export * from './batch-axis.js';
export { leakOf, learns } from './candidates.js';
export * from './dominance.js';
export * from './reasons.js';
export * from './region.js';
export * from './residual.js';
export * from './sections.js';
export * from './tables.js';
export * from './trainable.js';
export * from './types.js';
