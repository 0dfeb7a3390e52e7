// The passes as a public API: `import … from 'revnetify/passes'`.

export * from './catalogue.js';
export {
  BATCH_NORM,
  DEFAULT_SETTINGS,
  RECIPES,
  TRANSITIONS,
  choicesOf,
  createState,
} from './state.js';
export type * from './state.js';
export { configure, parsePipeline, printPipeline, runPipeline } from '../src/rewrite/index.js';
export type { Instrument, Outcome, Pass, PassOption, Vocabulary } from '../src/rewrite/index.js';
