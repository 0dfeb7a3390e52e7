// Defining and running passes.

export * from './pass.js';
export * from './pipeline.js';
export * from './rewrite.js';
export * from './run.js';
export { matchAt } from './match.js';
export type { Match, Mismatch } from './match.js';
export { makePattern } from './pattern.js';
export type {
  AttributePattern,
  NodePattern,
  OperandPattern,
  Operators,
  PatternFunction,
  Variables,
} from './pattern.js';
