// The operators: one file per family, one block per operator. Importing this file registers them all.

export * from './builder.js';
export * from './definition.js';
export * from './infer.js';
export * from './random.js';
export * from './registry.js';
