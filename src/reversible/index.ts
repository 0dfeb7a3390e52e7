// Reversible couplings: what a chain of residual blocks is turned into.

export * from './couple.js';
export * from './initial.js';
export * from './match.js';
export * from './missing.js';
export * from './partition.js';
export * from './recognise.js';
