// The operators: one file per family, one block per operator. Importing this file registers them all.

export * from './broadcast.js';
export * from './builder.js';
export * from './definition.js';
export * from './dims.js';
export * from './element-types.js';
export * from './infer.js';
export * from './interpret.js';
export * from './random.js';
export * from './registry.js';
export * from './tensor-slice.js';

import { compareOps } from './compare.js';
import { convGradientOps } from './conv-gradient.js';
import { convOps } from './conv.js';
import { elementwiseOps } from './elementwise.js';
import { matmulOps } from './matmul.js';
import { reduceOps } from './reduce.js';
import { registerOps } from './registry.js';
import { tensorLayoutOps } from './tensor-layout.js';
import { tensorSelectOps } from './tensor-select.js';
import { tensorShapeOps } from './tensor-shape.js';
import { tensorSliceOps } from './tensor-slice.js';
registerOps(elementwiseOps);
registerOps(compareOps);
registerOps(reduceOps);
registerOps(tensorLayoutOps);
registerOps(tensorSelectOps);
registerOps(tensorShapeOps);
registerOps(tensorSliceOps);
registerOps(convOps);
registerOps(convGradientOps);
registerOps(matmulOps);
