// The plan and how it is read and written.

export * from './file.js';
export * from './schema.js';
export * from './segments.js';
export * from './types.js';
