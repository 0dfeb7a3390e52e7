// Pooling: MaxPool, AveragePool and the global ones. In: X [N,C,…]. Out: one number per window. Invariant:
// of equal maxima the first in scan order wins, in the value's index and in the gradient alike.

import { DiagnosticError } from '../diagnostics/index.js';
import { Attributes, Tensor, elementCount, ints, isStatic } from '../ir/index.js';
import type { Attribute, Dim, Shape, Value } from '../ir/index.js';
import { planeAxes } from './axes.js';
import { expandLike, outputSize, scalarLike } from './broadcast.js';
import { defineOp } from './definition.js';
import type { GradientContext, InferContext, OpDefinition } from './definition.js';
import { AVERAGE_CASES, POOL_CASES, distinct } from './pool-cases.js';
import { divisorsOf, kernelOf, poolGeometry, resolvePool, windowsOf } from './pool-geometry.js';
import type { Random } from './random.js';

const get = (data: Float64Array, i: number): number => data[i] as number;

function pooledShape(ctx: InferContext): Shape {
  const [batch, channels, ...input] = ctx.shape(0);
  const kernel = ctx.attributes.ints('kernel_shape') ?? ctx.fail('there is no kernel_shape');
  if (batch === undefined || channels === undefined || kernel.length !== input.length)
    ctx.fail(`a kernel of ${kernel.length} axes over rank ${ctx.shape(0).length}`);
  const { output } = resolvePool(ctx.attributes, input);
  return [batch, channels, ...output.map((d) => d ?? ctx.fresh())];
}

const windowSize = (ctx: InferContext): number => elementCount(kernelOf(ctx.attributes));

/** The extents of a plane. @throws DiagnosticError shape/unknown */
function spatialOf(ctx: GradientContext, x: Value): readonly number[] {
  const spatial = x.shape?.slice(2);
  if (!isStatic(spatial))
    throw new DiagnosticError(
      'shape/unknown',
      `node ${ctx.node.name} (${ctx.node.op})`,
      `the gradient needs the extents of ${x.name}, which has shape [${String(x.shape)}]`,
    );
  return spatial;
}

/** Shape of X as an attribute: the batch may be a symbol and is not read. */
const shapeAttribute = (x: Value, spatial: readonly number[]): Attribute => {
  const known = (d: Dim | undefined): number => (typeof d === 'number' ? d : 0);
  return ints([known(x.shape?.[0]), known(x.shape?.[1]), ...spatial]);
};

// ---- MaxPool

/** Inputs X. Outputs Y and, optionally, Indices into the flattened X. */
const maxPool = defineOp({
  type: 'MaxPool',
  axes: planeAxes,
  infer(ctx) {
    if (ctx.attributes.int('storage_order', 0) !== 0)
      throw new DiagnosticError(
        'op/unsupported',
        `node ${ctx.node.name} (MaxPool)`,
        'storage_order=1 (column-major indices) is not supported',
      );
    const dilated = (ctx.attributes.ints('dilations') ?? []).some((d) => d !== 1);
    if (dilated && ctx.attributes.string('auto_pad', 'NOTSET').startsWith('SAME'))
      throw new DiagnosticError(
        'op/unsupported',
        `node ${ctx.node.name} (MaxPool)`,
        'ONNX Runtime pads it as if there were no dilations, against the ONNX standard; give pads instead of auto_pad',
      );
    const shape = pooledShape(ctx);
    return [
      { dtype: ctx.type(0).dtype, shape },
      { dtype: 'int64', shape },
    ];
  },
  evaluate(ctx) {
    const x = ctx.input(0);
    const g = poolGeometry(ctx.attributes, x.dims.slice(2));
    const dims = [...x.dims.slice(0, 2), ...g.output];
    const where = firstMaxima(x, windowsOf(g), elementCount(g.input));
    const y = Float64Array.from(where, (i) => get(x.data, i));
    return [new Tensor(x.dtype, dims, y), new Tensor('int64', dims, where)];
  },
  gradient: (ctx) => [
    ctx.wants(0)
      ? ctx.b.op('revnetify.MaxPoolGrad', [ctx.input(0), ctx.output(), ctx.grad()], {
          attributes: ctx.attributes,
        })
      : undefined,
  ],
  flops: (ctx) => outputSize(ctx) * windowSize(ctx),
  samples: (random) =>
    POOL_CASES.map(({ label, x, attributes }) => ({
      label,
      inputs: [distinct(random, x)],
      attributes: new Attributes(attributes),
    })),
});

/** Per window the flat index of its first maximum. */
export function firstMaxima(
  x: Tensor,
  windows: readonly Int32Array[],
  planeSize: number,
): Float64Array {
  const planes = planeSize === 0 ? 0 : x.size / planeSize;
  const where = new Float64Array(planes * windows.length);
  for (let p = 0, o = 0; p < planes; p++)
    for (const window of windows) {
      let best = p * planeSize + (window[0] ?? 0);
      for (const offset of window)
        if (get(x.data, p * planeSize + offset) > get(x.data, best)) best = p * planeSize + offset;
      where[o++] = best;
    }
  return where;
}

// ---- AveragePool

const averagePool = defineOp({
  type: 'AveragePool',
  axes: planeAxes,
  infer: (ctx) => [{ dtype: ctx.type(0).dtype, shape: pooledShape(ctx) }],
  evaluate(ctx) {
    const x = ctx.input(0);
    const g = poolGeometry(ctx.attributes, x.dims.slice(2));
    const windows = windowsOf(g);
    const divisors = divisorsOf(g, ctx.attributes.int('count_include_pad', 0) === 1);
    const planeSize = elementCount(g.input);
    const y = Tensor.zeros(x.dtype, [...x.dims.slice(0, 2), ...g.output]);
    for (let o = 0; o < y.size; o++) {
      const position = o % windows.length;
      const base = ((o - position) / windows.length) * planeSize;
      let sum = 0;
      for (const offset of windows[position] ?? []) sum += get(x.data, base + offset);
      y.data[o] = sum / get(divisors, position);
    }
    return [y];
  },
  gradient(ctx) {
    if (!ctx.wants(0)) return [];
    const x = ctx.input(0);
    return [
      ctx.b.op('revnetify.AveragePoolGrad', [ctx.grad()], {
        attributes: ctx.attributes.with({ input_shape: shapeAttribute(x, spatialOf(ctx, x)) }),
      }),
    ];
  },
  flops: (ctx) => outputSize(ctx) * windowSize(ctx),
  samples: (random) =>
    AVERAGE_CASES.map(({ label, x, attributes }) => ({
      label,
      inputs: [random.tensor(x)],
      attributes: new Attributes(attributes),
    })),
});

// ---- global

const globalShape = (ctx: InferContext): Shape => ctx.shape(0).map((d, i) => (i < 2 ? d : 1));

const planeSamples = (make: (random: Random, dims: readonly number[]) => Tensor) =>
  ((random) => [
    { label: 'rank 4', inputs: [make(random, [2, 3, 4, 3])] },
    { label: 'rank 3', inputs: [make(random, [2, 3, 5])] },
    { label: '1x1', inputs: [make(random, [2, 3, 1, 1])] },
  ]) satisfies OpDefinition['samples'];

function perPlane(x: Tensor, f: (values: Float64Array) => number): Tensor {
  const dims = x.dims.map((d, i) => (i < 2 ? d : 1));
  const size = elementCount(x.dims.slice(2));
  return Tensor.of(
    x.dtype,
    dims,
    Array.from({ length: elementCount(dims) }, (_, p) =>
      f(x.data.subarray(p * size, (p + 1) * size)),
    ),
  );
}

const globalAveragePool = defineOp({
  type: 'GlobalAveragePool',
  axes: planeAxes,
  infer: (ctx) => [{ dtype: ctx.type(0).dtype, shape: globalShape(ctx) }],
  evaluate: (ctx) => [
    perPlane(ctx.input(0), (values) => values.reduce((s, v) => s + v, 0) / values.length),
  ],
  gradient(ctx) {
    if (!ctx.wants(0)) return [];
    const x = ctx.input(0);
    const share = scalarLike(ctx.b, ctx.grad(), 1 / elementCount(spatialOf(ctx, x)));
    return [expandLike(ctx.b, ctx.b.op('Mul', [ctx.grad(), share]), x)];
  },
  flops: (ctx) => elementCount(ctx.staticShape(0)),
  samples: planeSamples((random, dims) => random.tensor(dims)),
});

const globalMaxPool = defineOp({
  type: 'GlobalMaxPool',
  axes: planeAxes,
  infer: (ctx) => [{ dtype: ctx.type(0).dtype, shape: globalShape(ctx) }],
  evaluate: (ctx) => [
    perPlane(ctx.input(0), (values) => values.reduce((m, v) => Math.max(m, v), -Infinity)),
  ],
  gradient(ctx) {
    if (!ctx.wants(0)) return [];
    const x = ctx.input(0);
    return [
      ctx.b.op('revnetify.MaxPoolGrad', [x, ctx.output(), ctx.grad()], {
        attributes: { kernel_shape: ints(spatialOf(ctx, x)) },
      }),
    ];
  },
  flops: (ctx) => elementCount(ctx.staticShape(0)),
  samples: planeSamples(distinct),
});

export const poolOps: readonly OpDefinition[] = [
  maxPool,
  averagePool,
  globalAveragePool,
  globalMaxPool,
];
