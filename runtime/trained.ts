// The trained inference model. In: rev.onnx and the arrays a training ended with. Out: <name>.trained.onnx, the same
// model with those weights and running statistics. Invariant: rev.onnx stays as it was, and a trained model that
// can be read is complete.

import { join } from 'node:path';
import { Tensor } from '../src/ir/index.js';
import type { ConstantData } from '../src/ir/index.js';
import { readModel, writeModel } from '../src/onnx/index.js';
import type { Plan } from '../src/plan/index.js';
import { inputOf } from './plan.js';
import type { Normalisation } from './data/index.js';

/** Metadata keys; the first is the compiler's, which sets it to 'uncalibrated'. */
const STATISTICS_KEY = 'revnetify.running_statistics';
const TRAINED_KEY = 'revnetify.trained';
const NORMALISATION_KEY = 'revnetify.normalisation';

/** What is known of a training; what is not is left out of the model's metadata. */
export interface TrainedFacts {
  readonly steps?: number;
  /** What images must be normalised with; (byte / 255 − mean) / std per channel. */
  readonly normalise?: Normalisation;
}

/** Floats of this process as a constant, not copied before they are written. */
class FloatData implements ConstantData {
  readonly dtype = 'float32';
  constructor(
    readonly dims: readonly number[],
    private readonly data: Float32Array,
  ) {}

  load(): Tensor {
    return Tensor.of('float32', this.dims, this.data);
  }

  bytes(): Uint8Array {
    return new Uint8Array(this.data.buffer, this.data.byteOffset, this.data.byteLength);
  }
}

/**
 * Writes the trained model, as a whole or not at all.
 * @param values weights and running statistics by name in rev.onnx
 * @param to folder it is written to; default: beside the plan
 * @returns the path
 * @throws DiagnosticError usage/output
 */
export function writeTrained(
  dir: string,
  plan: Plan,
  values: ReadonlyMap<string, Float32Array>,
  facts: TrainedFacts,
  to = dir,
): string {
  const model = readModel(join(dir, plan.model.rev));
  for (const value of model.graph.constants) {
    const data = values.get(value.name);
    if (data && value.constant) value.constant = new FloatData(value.constant.dims, data);
  }
  if (model.metadata.has(STATISTICS_KEY)) model.metadata.set(STATISTICS_KEY, 'trained');
  const { steps, normalise } = facts;
  model.metadata.set(TRAINED_KEY, steps === undefined ? 'elsewhere' : `${steps} steps`);
  // Token numbers are taken as they are.
  if (normalise && inputOf(plan, 'images').dtype === 'float32')
    model.metadata.set(NORMALISATION_KEY, JSON.stringify(normalise));
  const path = join(to, `${plan.model.name}.trained.onnx`);
  writeModel(model, path);
  return path;
}
