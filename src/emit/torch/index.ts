// To PyTorch and back: a compiled folder as a Python package, and its trained weights as an ONNX model.

export { exportTorch, packageName } from './files.js';
export type { ExportOptions, Exported } from './files.js';
export { importTorch } from './import.js';
export type { Imported } from './import.js';
export { torchPackage } from './files.js';
