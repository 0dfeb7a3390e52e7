// The gradient of training-mode batch norm as one abstract step; src/lowering/batchnorm.ts turns it into
// ai.onnx nodes per target. In: X, dY, gamma and the batch statistics. Out: dX, dgamma, dbeta.

import { Attributes, Tensor, float } from '../ir/index.js';
import { inputSize } from './broadcast.js';
import { DEFAULT_EPSILON, channelData, channelStatistics, eachPlane } from './channels.js';
import { REVNETIFY, defineOp } from './definition.js';
import type { OpDefinition, OpSample } from './definition.js';

const get = (data: Float64Array, i: number): number => data[i] as number;

/**
 * BatchNormGrad(X, dY, gamma, mean, var; epsilon). With x̂ = (X − mean)/√(var + ε) and M elements per channel:
 * dbeta = Σ dY, dgamma = Σ (dY − dbeta/M)·x̂, dX = gamma/√(var + ε) · (dY − dbeta/M − x̂·dgamma/M).
 * Σ dY·x̂ would be the same number if mean were exact, as Σ x̂ = 0 then; a mean rounded to float32 would
 * enter it times Σ dY, which at a mean of 50 deviations costs half of the digits.
 */
const batchNormGrad = defineOp({
  type: 'BatchNormGrad',
  domain: REVNETIFY,
  infer(ctx) {
    const { dtype, shape } = ctx.type(0);
    const vector = ctx.type(2);
    return [{ dtype, shape }, vector, vector];
  },
  evaluate(ctx) {
    const [x, dY, gamma, mean, variance] = [0, 1, 2, 3, 4].map((i) => ctx.input(i)) as [
      Tensor,
      Tensor,
      Tensor,
      Tensor,
      Tensor,
    ];
    const epsilon = ctx.attributes.float('epsilon', DEFAULT_EPSILON);
    const channels = gamma.size;
    const count = x.size / channels;
    const inverse = variance.data.map((v) => 1 / Math.sqrt(v + epsilon));
    const normal = (c: number, i: number): number =>
      (get(x.data, i) - get(mean.data, c)) * get(inverse, c);
    const dX = Tensor.zeros(x.dtype, x.dims);
    const dGamma = Tensor.zeros(gamma.dtype, [channels]);
    const dBeta = Tensor.zeros(gamma.dtype, [channels]);
    eachPlane(x.dims, (c, start, length) => {
      for (let i = start; i < start + length; i++)
        dBeta.data[c] = get(dBeta.data, c) + get(dY.data, i);
    });
    eachPlane(x.dims, (c, start, length) => {
      const shift = get(dBeta.data, c) / count;
      for (let i = start; i < start + length; i++)
        dGamma.data[c] = get(dGamma.data, c) + (get(dY.data, i) - shift) * normal(c, i);
    });
    eachPlane(x.dims, (c, start, length) => {
      const scale = get(gamma.data, c) * get(inverse, c);
      const shift = get(dBeta.data, c) / count;
      const slope = get(dGamma.data, c) / count;
      for (let i = start; i < start + length; i++)
        dX.data[i] = scale * (get(dY.data, i) - shift - normal(c, i) * slope);
    });
    return [dX, dGamma, dBeta];
  },
  flops: (ctx) => 10 * inputSize(ctx),
  guard(node, token, b) {
    node.setInput(2, b.op('Add', [node.input(2), token], { name: 'token' }));
  },
  samples: (random) =>
    [
      { label: 'rank 4', dims: [2, 3, 4, 3], offset: 0.5 },
      { label: 'rank 3', dims: [3, 2, 5], offset: 0.5 },
      { label: 'rank 2', dims: [6, 4], offset: 0.5 },
      { label: 'mean of 3 deviations', dims: [3, 2, 4, 5], offset: 3 },
      { label: 'mean of 50 deviations', dims: [3, 2, 4, 5], offset: 50 },
    ]
      .map(({ label, dims, offset }): OpSample => {
        const channels = dims[1] ?? 1;
        const x = channelData(random, dims, offset);
        const { mean, variance } = channelStatistics(x);
        const vector = (data: Float64Array): Tensor =>
          Tensor.of('float32', [channels], data.map(Math.fround));
        return {
          label,
          inputs: [
            x,
            random.tensor(dims),
            random.tensor([channels]),
            vector(mean),
            vector(variance),
          ],
          attributes: new Attributes({ epsilon: float(1e-5) }),
          differentiable: [],
        };
      })
      .map((sample) => ({ ...sample, outputs: 3 })),
});

export const batchNormGradientOps: readonly OpDefinition[] = [batchNormGrad];
