// Reversible couplings: what a chain of residual blocks is turned into.

export * from './couple.js';
