// The compiler: from a model to its reversible training step.

export type { Budget } from './budget.js';
export * from './compile.js';
export type { CompileOptions } from './coupled.js';
export * from './folder.js';
export * from './instruments.js';
export * from './names.js';
export * from './plan.js';
export * from './step.js';
