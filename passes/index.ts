// The passes as a public API: `import … from 'revnetify/passes'`.

export * from './catalogue.js';
export * from './state.js';
export { runPipeline } from '../src/rewrite/index.js';
export type { Instrument, Pass } from '../src/rewrite/index.js';
