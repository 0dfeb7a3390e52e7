// Facts about a graph that passes act on.

export * from './chains.js';
export * from './dominance.js';
export * from './region.js';
export * from './residual.js';
export * from './types.js';
