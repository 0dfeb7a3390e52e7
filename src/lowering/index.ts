// Lowerings per target: one file per operator family. Importing this file registers them all.

export * from './definition.js';

import { convLowerings } from './conv.js';
import { registerLowerings } from './definition.js';
import { tensorLowerings } from './tensor.js';
registerLowerings(tensorLowerings);
registerLowerings(convLowerings);
