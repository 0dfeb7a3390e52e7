// Defining and running passes.

export * from './pass.js';
export * from './pipeline.js';
export * from './run.js';
