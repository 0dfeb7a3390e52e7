// Verification: distances between the step graph and independent references, and the verdict.

export * from './compare.js';
export * from './float64.js';
export * from './probes.js';
export * from './verify.js';
