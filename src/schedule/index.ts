// Units of the training step and what is kept, recomputed or reversed in each.

export * from './cuts.js';
export * from './deep.js';
export * from './order.js';
export * from './policy.js';
export * from './schedule.js';
export * from './units.js';
export * from './verify-order.js';
