// The passes as a public API: `import … from 'revnetify/passes'`.

export * from './catalogue.js';
export { DEFAULT_SETTINGS, RECIPES, createState } from './state.js';
export type * from './state.js';
export { configure, parsePipeline, printPipeline, runPipeline } from '../src/rewrite/index.js';
export type { Instrument, Outcome, Pass, PassOption, Vocabulary } from '../src/rewrite/index.js';
