// What python3-onnx calls load, infer_shapes and save: node type-file.js FROM TO. Out: the same model with the types of its
// values.

import { inferTypes } from '../../src/analysis/index.js';
import { readModel, writeModel } from '../../src/onnx/index.js';

const [from = '', to = ''] = process.argv.slice(2);
const model = readModel(from);
model.graph.sort();
inferTypes(model.graph);
writeModel(model, to);
