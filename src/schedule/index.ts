// Units of the training step and what is kept, recomputed or reversed in each.

export * from './policy.js';
export * from './units.js';
