// Defining and running passes.

export * from './pass.js';
