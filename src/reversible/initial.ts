// Initial values of weights that the original does not have. In: a name, a shape, what the operator says. Out: a
// constant. Invariant: decided by seed, name and shape alone, so that the same model gives the same weights whatever else
// is drawn.

import { InlineData, Tensor, elementCount, isFloat } from '../ir/index.js';
import type { ConstantData, DataType, Node, Value } from '../ir/index.js';
import { Random, findOp } from '../ops/index.js';
import type { InitialValue } from '../ops/index.js';

/** How a constant operand starts when it is new; undefined: it is no weight (an exponent, a slope, a shape). */
export function initialOf(
  node: Node,
  index: number,
  { constant }: Value,
  dims = constant?.dims ?? [],
): InitialValue | undefined {
  const definition = findOp(node);
  if (!constant || !isFloat(constant.dtype)) return undefined;
  if (definition?.parameters === 'any' && elementCount(constant.dims) === 1) return undefined;
  return definition?.initial?.(index, dims, node);
}

/** FNV-1a: spreads names over the seeds. */
function hash(text: string): number {
  let h = 0x811c9dc5;
  for (let i = 0; i < text.length; i++) h = Math.imul(h ^ text.charCodeAt(i), 0x01000193);
  return h >>> 0;
}

/**
 * Normal numbers of variance 2 / fan-in (He et al. 2015, "Delving Deep into Rectifiers", equation 10), or one number throughout.
 */
export function drawnConstant(
  name: string,
  dtype: DataType,
  dims: readonly number[],
  initial: InitialValue,
  seed: number,
): ConstantData {
  if (typeof initial === 'object' && 'fanIn' in initial) {
    const random = new Random((hash(name) ^ Math.imul(seed + 1, 0x9e3779b1)) >>> 0);
    const deviation = Math.sqrt(2 / Math.max(1, initial.fanIn));
    return new InlineData(random.tensor(dims, deviation, 0, dtype));
  }
  const tensor = Tensor.zeros(dtype, dims);
  if (initial !== 'zeros') tensor.data.fill(initial === 'ones' ? 1 : initial.value);
  return new InlineData(tensor);
}
