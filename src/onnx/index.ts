// ONNX files ⇄ the intermediate representation.

export { checkWeights, dataFolders, missingWeights } from './check.js';
export { atomicWrite, atomicWriteWith } from './files.js';
export { fromBfloat16, fromFloat16 } from './numeric.js';
export { decodeModel, readModel, readTensor } from './read.js';
export { TensorData } from './tensor-data.js';
export { asFloat32, isOtherFloat } from './widen.js';
export { encodeModel, modelDigest, prepareModel, writeModel, writeTensor } from './write.js';
