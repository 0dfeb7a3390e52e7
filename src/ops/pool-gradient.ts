// The gradients of pooling as abstract steps; src/lowering/pool.ts turns them into ai.onnx nodes per target.
// In: dY, and for a maximum X and Y. Out: dX. Invariant: what overlapping windows give to one element adds up.

import { Attributes, Tensor, elementCount, ints } from '../ir/index.js';
import { inputSize, mapElements } from './broadcast.js';
import { REVNETIFY, defineOp } from './definition.js';
import type { OpDefinition, OpSample } from './definition.js';
import { AVERAGE_CASES, POOL_CASES, distinct } from './pool-cases.js';
import { firstMaxima } from './pool.js';
import { divisorsOf, kernelOf, poolGeometry, windowsOf } from './pool-geometry.js';
import type { Random } from './random.js';

const get = (data: Float64Array, i: number): number => data[i] as number;

/** MaxPoolGrad(X, Y, dY; attributes of the MaxPool) → dX: each dY goes to its window's first maximum. */
const maxPoolGrad = defineOp({
  type: 'MaxPoolGrad',
  domain: REVNETIFY,
  infer: (ctx) => [ctx.type(0)],
  evaluate(ctx) {
    const [x, dY] = [ctx.input(0), ctx.input(2)];
    const g = poolGeometry(ctx.attributes, x.dims.slice(2));
    const dX = Tensor.zeros(x.dtype, x.dims);
    firstMaxima(x, windowsOf(g), elementCount(g.input)).forEach((where, o) => {
      dX.data[where] = get(dX.data, where) + get(dY.data, o);
    });
    return [dX];
  },
  flops: (ctx) => inputSize(ctx, 2) * elementCount(kernelOf(ctx.attributes)),
  samples: (random) => [
    ...POOL_CASES.map((c) => maxSample(random, c, distinct(random, c.x))),
    // After a Relu many windows hold nothing but zeros.
    ...POOL_CASES.map((c) =>
      maxSample(
        random,
        { ...c, label: `${c.label}, ties` },
        mapElements(random.tensor(c.x), (x) => Math.max(0, Math.round(x))),
      ),
    ),
  ],
});

function maxSample(random: Random, c: (typeof POOL_CASES)[number], x: Tensor): OpSample {
  const attributes = new Attributes(c.attributes);
  const g = poolGeometry(attributes, x.dims.slice(2));
  const dims = [...x.dims.slice(0, 2), ...g.output];
  const where = firstMaxima(x, windowsOf(g), elementCount(g.input));
  const y = Tensor.of(
    x.dtype,
    dims,
    Float64Array.from(where, (i) => get(x.data, i)),
  );
  return { label: c.label, inputs: [x, y, random.tensor(dims)], attributes, differentiable: [] };
}

/** AveragePoolGrad(dY; attributes of the AveragePool, input_shape) → dX. input_shape[0] is not read. */
const averagePoolGrad = defineOp({
  type: 'AveragePoolGrad',
  domain: REVNETIFY,
  infer(ctx) {
    const { dtype, shape } = ctx.type(0);
    const batch = shape?.[0] ?? ctx.fail('dY has no batch');
    const channels = shape?.[1] ?? ctx.fail('dY has no channels');
    return [{ dtype, shape: [batch, channels, ...inputExtents(ctx.attributes)] }];
  },
  evaluate(ctx) {
    const dY = ctx.input(0);
    const g = poolGeometry(ctx.attributes, inputExtents(ctx.attributes));
    const windows = windowsOf(g);
    const divisors = divisorsOf(g, ctx.attributes.int('count_include_pad', 0) === 1);
    const planeSize = elementCount(g.input);
    const dX = Tensor.zeros(dY.dtype, [...dY.dims.slice(0, 2), ...g.input]);
    for (let o = 0; o < dY.size; o++) {
      const position = o % windows.length;
      const base = ((o - position) / windows.length) * planeSize;
      const share = get(dY.data, o) / get(divisors, position);
      for (const offset of windows[position] ?? [])
        dX.data[base + offset] = get(dX.data, base + offset) + share;
    }
    return [dX];
  },
  flops: (ctx) => inputSize(ctx) * elementCount(kernelOf(ctx.attributes)),
  samples: (random) =>
    AVERAGE_CASES.map((c) => {
      const attributes = new Attributes({ ...c.attributes, input_shape: ints(c.x) });
      const { output } = poolGeometry(attributes, c.x.slice(2));
      return {
        label: c.label,
        inputs: [random.tensor([...c.x.slice(0, 2), ...output])],
        attributes,
        differentiable: [],
      };
    }),
});

/** The spatial extents of input_shape. */
export function inputExtents(attributes: Attributes): readonly number[] {
  const shape = attributes.ints('input_shape');
  if (!shape) throw new Error('internal error: an AveragePoolGrad without input_shape');
  return shape.slice(2);
}

export const poolGradientOps: readonly OpDefinition[] = [maxPoolGrad, averagePoolGrad];
