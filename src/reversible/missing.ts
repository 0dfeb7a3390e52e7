// Initial values of weights whose data is missing, so that a file which holds the architecture alone can be trained.
// In: values without data. Out: the same values with data. Invariant: decided by seed, name and shape alone; what is no
// trained weight (a shape, an index) is never made up.

import { DiagnosticError, invariant } from '../diagnostics/index.js';
import type { Value } from '../ir/index.js';
import type { InitialValue } from '../ops/index.js';
import { drawnConstant, initialOf } from './initial.js';

/** Operators that hand a weight on to the one that is meant. */
const PASSING: ReadonlySet<string> = new Set(['Identity', 'Cast', 'Transpose']);

/** How the first operator that computes with a weight of these dims wants it to start. */
function wanted(value: Value, weight: Value, dims: readonly number[]): InitialValue | undefined {
  for (const { node, index } of value.uses) {
    if (index < 0) continue;
    const passing = node.domain === '' && PASSING.has(node.op);
    const perm = node.op === 'Transpose' ? node.attributes.ints('perm') : undefined;
    const turned =
      node.op === 'Transpose' ? (perm?.map((i) => dims[i] ?? 1) ?? [...dims].reverse()) : dims;
    const found = passing
      ? wanted(node.output(), weight, turned)
      : initialOf(node, index, weight, dims);
    if (found !== undefined) return found;
  }
  return undefined;
}

/**
 * Draws the weights that are missing (He et al. 2015; biases 0, scales 1).
 * @throws DiagnosticError model/missing-weights naming one that cannot be drawn
 */
export function drawWeights(missing: readonly Value[], seed: number): void {
  for (const value of missing) {
    const { constant, name } = value;
    invariant(constant, `${name} is no constant`);
    const initial = wanted(value, value, constant.dims);
    if (initial === undefined)
      throw new DiagnosticError(
        'model/missing-weights',
        `tensor ${name}`,
        `${constant.dtype}[${constant.dims.join()}] has no data, and no operator says how it may start`,
        'keep the data file beside the model, or export the model with its weights',
      );
    value.constant = drawnConstant(name, constant.dtype, constant.dims, initial, seed);
  }
}
