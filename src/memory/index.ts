// Memory of a training step: simulated execution, live bytes, peaks.

export * from './executor.js';
export * from './fusion.js';
export * from './kernels.js';
export * from './pattern.js';
export * from './pools.js';
export * from './profile.js';
export * from './segments.js';
export * from './shapes.js';
export * from './workspace.js';
