/**
 * The public API.
 *
 *     import { readModel, compile, writeFolder } from 'revnetify';
 *     const model = readModel('resnet50.onnx');
 *     const compiled = compile(model, { name: 'resnet50', source: 'resnet50.onnx', batch: 16 });
 *     writeFolder(compiled, 'out');
 */

export { DiagnosticError, EXIT } from './diagnostics/index.js';
export type { DiagnosticCode } from './diagnostics/index.js';
export { analyseModel, buildStep, compile, writeFolder } from './compiler/index.js';
export type { CompileOptions, Compiled, StepBuild } from './compiler/index.js';
export {
  Attributes,
  Graph,
  InlineData,
  Model,
  Node,
  Tensor,
  Value,
  cloneModel,
} from './ir/index.js';
export { decodeModel, encodeModel, readModel, writeModel } from './onnx/index.js';
export type * from './plan/index.js';
export { THRESHOLDS, verifyModel } from './verify/index.js';
export type { VerifyOptions, VerifyResult } from './verify/index.js';
