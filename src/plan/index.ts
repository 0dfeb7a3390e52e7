// The plan and how it is read and written.

export * from './types.js';
