// Every pass, and the two pipelines made of them. Adding a pass: one file, one line here.

import { activateDropout } from './activate-dropout.js';
import { appendLoss } from './append-loss.js';
import { batchNormInference } from './batchnorm-inference.js';
import { batchNormTraining } from './batchnorm-training.js';
import { blockLayout } from './block-layout.js';
import { bindShapes } from './bind-shapes.js';
import { checkTrainable } from './check-trainable.js';
import { coupleResidualBlocks } from './couple-residual-blocks.js';
import { differentiatePass } from './differentiate.js';
import { expandGroupNorm } from './expand-group-norm.js';
import { findGroupNorm } from './find-group-norm.js';
import { findLayerNorm } from './find-layer-norm.js';
import { findCouplings } from './find-couplings.js';
import { findResidualBlocksPass } from './find-residual-blocks.js';
import { foldConstants } from './fold-constants.js';
import { freeBatch } from './free-batch.js';
import { inferTypesPass } from './infer-types.js';
import { inlineBranchesPass } from './inline-branches.js';
import { inlineFunctionsPass } from './inline-functions.js';
import { joinSliceGradients } from './join-slice-gradients.js';
import { lowerGradients } from './lower-gradients.js';
import { partitionChannels } from './partition-channels.js';
import { orderStep } from './order-step.js';
import { simplifyShapes } from './simplify-shapes.js';
import { reservePools } from './reserve-pools.js';
import { restoreBatchNorm } from './restore-batch-norm.js';
import { relaxReshapes } from './relax-reshapes.js';
import { toFloat32 } from './to-float32.js';
import { unifyDropout } from './unify-dropout.js';
import { upgradeOpset } from './upgrade-opset.js';
import { writeOutEinsumPass } from './write-out-einsum.js';

export { appendLoss, bindShapes, findGroupNorm, foldConstants };

/** Reads any export into the form the analysis works on. */
export const importPipeline = [
  inlineFunctionsPass,
  checkTrainable,
  toFloat32,
  upgradeOpset,
  writeOutEinsumPass,
  foldConstants,
  inlineBranchesPass,
  unifyDropout,
  freeBatch,
  simplifyShapes,
  batchNormInference,
  inferTypesPass,
  findLayerNorm,
  findGroupNorm,
  restoreBatchNorm,
];

/** Always follows couplePipeline: what our own operators stand for, in standard ones. */
export const standardPipeline = [expandGroupNorm];

/** Residual → reversible; ends in what rev.onnx holds. */
export const couplePipeline = [
  findCouplings,
  findResidualBlocksPass,
  coupleResidualBlocks,
  partitionChannels,
  inferTypesPass,
];

/** Inference graph → forward pass of a training step, with its loss. */
export const forwardPipeline = [
  bindShapes,
  foldConstants,
  findGroupNorm,
  appendLoss,
  activateDropout,
  batchNormTraining,
];

/** Inference graph → training step; ends in what train.onnx holds. */
export const stepPipeline = [
  ...forwardPipeline,
  differentiatePass,
  joinSliceGradients,
  blockLayout,
  lowerGradients,
  relaxReshapes,
  orderStep,
  reservePools,
];
