/**
 * The passes, and what it takes to write one.
 *
 *     import { defineRewrite } from 'revnetify/passes';
 *     export default defineRewrite({
 *       name: 'relu-once',
 *       summary: 'Relu(Relu(x)) is Relu(x)',
 *       match: (op, { x }) => op.Relu(op.Relu(x)),
 *       replace: ({ x }, { build }) => build.op('Relu', [x]),
 *     });
 */

export * from './catalogue.js';
export {
  BATCH_NORM,
  DEFAULT_SETTINGS,
  DROPOUT,
  LOSSES,
  RECIPES,
  TRANSITIONS,
  choicesOf,
  createState,
} from './state.js';
export { loadPasses } from './load.js';
export { listPasses, printRevPipeline, revPipeline } from './pipelines.js';
export type { RevPipeline } from './pipelines.js';
export type * from './state.js';
export { definePass } from './user.js';
export {
  configure,
  defineRewrite,
  parsePipeline,
  printPipeline,
  runPipeline,
} from '../src/rewrite/index.js';
export type * from '../src/rewrite/index.js';
export { InlineData, Tensor, float, floats, int, ints, string, tensor } from '../src/ir/index.js';
export { Builder } from '../src/ops/index.js';
