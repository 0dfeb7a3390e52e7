// Names of things the user sees. In: paths. Out: the model's short name and the files that belong to it.

import { basename } from 'node:path';

/** "/models/resnet20.onnx" → "resnet20"; a rev.onnx of ours keeps its original's name. */
export const modelName = (path: string): string => basename(path).replace(/(\.rev)?\.onnx$/i, '');

/** The data file that a model written by us may have beside it. */
export const dataFile = (path: string): string => `${path}.data`;

export interface OutputFiles {
  readonly rev: string;
  readonly train: string;
  readonly plan: string;
}

export const outputFiles = (name: string): OutputFiles => ({
  rev: `${name}.rev.onnx`,
  train: `${name}.train.onnx`,
  plan: `${name}.plan.json`,
});
