// The gradient of normalization over the last axes as one abstract step; src/lowering/norm.ts turns it into ai.onnx
// nodes per target. In: X, dY and a scale that is repeated over X. Out: dX and dScale. Invariant: of the forward
// pass only X is read, statistics are taken anew.

import { Attributes, Tensor, elementCount, float, int } from '../ir/index.js';
import { inputSize, zipElements } from './broadcast.js';
import { DEFAULT_EPSILON } from './channels.js';
import { REVNETIFY, defineOp } from './definition.js';
import type { OpDefinition } from './definition.js';
import { sumTo } from './elements.js';

const get = (data: Float64Array, i: number): number => data[i] as number;

export interface NormalRows {
  /** (X − mean) / √(variance + ε), the shape of X. */
  readonly normal: Tensor;
  /** Of each row; the normalised axes are 1. */
  readonly mean: Tensor;
  /** 1 / √(variance + ε) of each row. */
  readonly inverse: Tensor;
}

/** Calls visit(row, start, length) for each row: what lies along the axes from `axis` on. */
function eachRow(
  dims: readonly number[],
  axis: number,
  visit: (row: number, start: number, length: number) => void,
): void {
  const length = elementCount(dims.slice(axis));
  const rows = elementCount(dims.slice(0, axis));
  for (let row = 0; row < rows; row++) visit(row, row * length, length);
}

/** Normalises over the axes from `axis` on, by two passes. */
export function normalizeRows(x: Tensor, axis: number, epsilon: number): NormalRows {
  const kept = x.dims.map((d, i) => (i < axis ? d : 1));
  const [mean, inverse] = [Tensor.zeros(x.dtype, kept), Tensor.zeros(x.dtype, kept)];
  const normal = Tensor.zeros(x.dtype, x.dims);
  eachRow(x.dims, axis, (row, start, length) => {
    let sum = 0;
    for (let i = start; i < start + length; i++) sum += get(x.data, i);
    const average = sum / length;
    let squares = 0;
    for (let i = start; i < start + length; i++) squares += (get(x.data, i) - average) ** 2;
    const inv = 1 / Math.sqrt(squares / length + epsilon);
    for (let i = start; i < start + length; i++) normal.data[i] = (get(x.data, i) - average) * inv;
    mean.data[row] = average;
    inverse.data[row] = inv;
  });
  return { normal, mean, inverse };
}

/**
 * NormGrad(X, dY, scale; axis, epsilon) → dX, dScale. With g = dY·scale, x̂ = (X − mean)/√(var + ε) and averages ⟨·⟩
 * over the axes from `axis` on: dX = (g − ⟨g⟩ − x̂·⟨g·x̂⟩)/√(var + ε), dScale = Σ dY·x̂ over what the scale is
 * repeated along.
 */
const normGrad = defineOp({
  type: 'NormGrad',
  domain: REVNETIFY,
  infer: (ctx) => [ctx.type(0), ctx.type(2)],
  evaluate(ctx) {
    const [x, dY, scale] = [ctx.input(0), ctx.input(1), ctx.input(2)];
    const axis = ctx.attributes.int('axis', -1);
    const epsilon = ctx.attributes.float('epsilon', DEFAULT_EPSILON);
    const { normal, inverse } = normalizeRows(x, axis, epsilon);
    const multiply = (p: number, q: number): number => p * q;
    const g = zipElements(dY, scale, multiply);
    const dX = Tensor.zeros(x.dtype, x.dims);
    eachRow(x.dims, axis, (row, start, length) => {
      let [shift, slope] = [0, 0];
      for (let i = start; i < start + length; i++) {
        shift += get(g.data, i) / length;
        slope += (get(g.data, i) * get(normal.data, i)) / length;
      }
      for (let i = start; i < start + length; i++)
        dX.data[i] =
          (get(g.data, i) - shift - get(normal.data, i) * slope) * get(inverse.data, row);
    });
    return [dX, sumTo(zipElements(dY, normal, multiply), scale.dims)];
  },
  flops: (ctx) => 12 * inputSize(ctx),
  guard(node, token, b) {
    node.setInput(2, b.op('Add', [node.input(2), token], { name: 'token' }));
  },
  samples: (random) =>
    [
      { label: 'last axis', dims: [2, 3, 6], axis: 2, scale: [6], shift: 0.5 },
      { label: 'two axes', dims: [3, 2, 4], axis: 1, scale: [2, 4], shift: 0.5 },
      { label: 'all axes', dims: [3, 4], axis: 0, scale: [3, 4], shift: 0.5 },
      { label: 'scale of one element', dims: [3, 5], axis: 1, scale: [1], shift: 0.5 },
      { label: 'scale without axes', dims: [3, 5], axis: 1, scale: [], shift: 0.5 },
      { label: 'channels of planes', dims: [2, 3, 4, 2], axis: 2, scale: [3, 1, 1], shift: 0.5 },
      { label: 'channels of rows', dims: [2, 3, 5], axis: 2, scale: [3, 1], shift: 0.5 },
      { label: 'mean of 50 deviations', dims: [4, 8], axis: 1, scale: [8], shift: 50 },
    ].map(({ label, dims, axis, scale, shift }) => ({
      label,
      inputs: [random.tensor(dims, 1, shift), random.tensor(dims), random.tensor(scale)],
      attributes: new Attributes({ axis: int(axis), epsilon: float(1e-3) }),
      outputs: 2,
      differentiable: [],
    })),
});

export const normGradientOps: readonly OpDefinition[] = [normGrad];
