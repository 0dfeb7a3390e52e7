// Lowerings per target: one file per operator family. Importing this file registers them all.

export * from './definition.js';
export { Layout } from './blocked/layout.js';

import { activationLowerings } from './activation.js';
import { batchNormLowerings } from './batchnorm.js';
import { convLowerings } from './conv.js';
import { registerLowerings } from './definition.js';
import { normLowerings } from './norm.js';
import { poolLowerings } from './pool.js';
import { randomLowerings } from './random-source.js';
import { softmaxLowerings } from './softmax.js';
import { tensorLowerings } from './tensor.js';
registerLowerings(tensorLowerings);
registerLowerings(convLowerings);
registerLowerings(activationLowerings);
registerLowerings(batchNormLowerings);
registerLowerings(normLowerings);
registerLowerings(poolLowerings);
registerLowerings(softmaxLowerings);
registerLowerings(randomLowerings);
