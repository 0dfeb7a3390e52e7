// Facts about a graph that passes act on.

export * from './axis-classes.js';
export * from './dominance.js';
export * from './region.js';
export * from './residual.js';
export * from './sections.js';
export * from './types.js';
