// Names of things the user sees. In: paths. Out: the model's short name and the files that belong to it.

import { basename } from 'node:path';

/** "/models/resnet20.onnx" → "resnet20"; a rev.onnx of ours keeps its original's name. */
export const modelName = (path: string): string => basename(path).replace(/(\.rev)?\.onnx$/i, '');

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
