// Resize: interpolation along each axis by its own. In: X, and scales or sizes. Out: X at the new extents.
// Invariant: an axis whose extent stays and whose scale is 1 is copied, so channels pass through unchanged.

import { DiagnosticError } from '../diagnostics/index.js';
import { Tensor, elementCount, ints } from '../ir/index.js';
import type { Dim, Node, Shape, Value } from '../ir/index.js';
import { sameAxes } from './axes.js';
import type { Builder } from './builder.js';
import { knownShape, noGradient, outputSize, scalarLike } from './broadcast.js';
import { defineOp } from './definition.js';
import type { GradientContext, InferContext, OpDefinition } from './definition.js';
import { SCALES, SIZES, resizeSamples } from './resize-cases.js';
import {
  COORDINATES,
  MODES,
  interpolationOf,
  repeats,
  tapMatrix,
  tapsOf,
} from './resize-geometry.js';
import type { ResizedAxis, Taps } from './resize-geometry.js';

/** Elements of a float operand that is a constant and not empty. */
function constantScales(node: Node): number[] | undefined {
  const scales = node.inputs[SCALES]?.constant?.load();
  return scales && scales.size > 0 ? scales.toArray() : undefined;
}

const isEmpty = (value: Value | undefined): boolean => value?.shape?.[0] === 0;

function checked(ctx: InferContext): void {
  const refuse = (what: string): never => {
    throw new DiagnosticError('op/unsupported', `node ${ctx.node.name} (Resize)`, what);
  };
  const { mode, coordinates } = interpolationOf(ctx.attributes);
  if (!MODES.includes(mode)) refuse(`its mode is ${mode}; ${MODES.join(', ')} are supported`);
  if (!COORDINATES.includes(coordinates))
    refuse(
      `its coordinate_transformation_mode is ${coordinates}; ${COORDINATES.join(', ')} are supported`,
    );
}

/** An extent times a factor, rounded down as ONNX Runtime does it in float32. */
const scaled = (extent: number, scale: number): number =>
  Math.floor(Math.fround(extent * Math.fround(scale)));

function resizedShape(ctx: InferContext): Shape | undefined {
  const { shape } = ctx.type(0);
  if (!shape) return undefined;
  if (ctx.has(SIZES) && !isEmpty(ctx.node.inputs[SIZES])) {
    const sizes = ctx.content(SIZES);
    if (sizes && sizes.length !== shape.length)
      ctx.fail(`${sizes.length} sizes for ${shape.length} axes`);
    return sizes ?? shape.map(() => ctx.fresh());
  }
  const scales = constantScales(ctx.node);
  if (scales && scales.length !== shape.length)
    ctx.fail(`${scales.length} scales for ${shape.length} axes`);
  return shape.map((d, i): Dim => {
    const scale = scales?.[i];
    if (scale === 1) return d;
    return scale === undefined || typeof d === 'string' ? ctx.fresh() : scaled(d, scale);
  });
}

/** The axes of a node whose extents are known; those given by size have their scale from it. */
function axesOf(
  from: readonly number[],
  to: readonly number[],
  scales: readonly number[] | undefined,
): ResizedAxis[] {
  return from.map((extent, i) => ({
    from: extent,
    to: to[i] as number,
    scale: scales?.[i] ?? (to[i] as number) / extent,
  }));
}

/** One axis of x through its map. */
function interpolate(x: Tensor, axis: number, taps: readonly Taps[]): Tensor {
  const extent = x.dims[axis] as number;
  const outer = elementCount(x.dims.slice(0, axis));
  const inner = elementCount(x.dims.slice(axis + 1));
  const out = Tensor.zeros(
    x.dtype,
    x.dims.map((d, i) => (i === axis ? taps.length : d)),
  );
  for (let o = 0; o < outer; o++)
    taps.forEach((list, to) => {
      const target = (o * taps.length + to) * inner;
      for (const [from, weight] of list) {
        const source = (o * extent + from) * inner;
        for (let k = 0; k < inner; k++)
          out.data[target + k] =
            (out.data[target + k] as number) + weight * (x.data[source + k] as number);
      }
    });
  return out;
}

const resize = defineOp({
  type: 'Resize',
  infer: (ctx) => {
    checked(ctx);
    return [{ dtype: ctx.type(0).dtype, shape: resizedShape(ctx) }];
  },
  evaluate: (ctx) => {
    let x = ctx.input(0);
    const sizes = ctx.inputs[SIZES];
    const given = ctx.inputs[SCALES];
    const bySize = sizes && sizes.size > 0;
    const scales = bySize ? undefined : given?.toArray();
    const to = bySize ? sizes.toArray() : x.dims.map((d, i) => scaled(d, scales?.[i] ?? 1));
    const how = interpolationOf(ctx.attributes);
    axesOf(x.dims, to, scales).forEach((axis, i) => {
      if (axis.from !== axis.to || axis.scale !== 1) x = interpolate(x, i, tapsOf(axis, how));
    });
    return [x];
  },
  gradient: (ctx) => [ctx.wants(0) ? resizeGradient(ctx) : undefined],
  axes: (ctx) => {
    const scales = constantScales(ctx.node);
    const [from, to] = [ctx.shape(0), ctx.node.outputs[0]?.shape];
    return sameAxes(ctx).filter((_, i) => (scales ? scales[i] === 1 : from[i] === to?.[i]));
  },
  resized: spellSizes,
  flops: (ctx) => {
    const { mode } = interpolationOf(ctx.attributes);
    const taps = { nearest: 0, linear: 4, cubic: 8 }[mode] ?? 0;
    const [from, to] = [ctx.shape(0), ctx.node.outputs[0]?.shape];
    return taps * outputSize(ctx) * from.filter((d, i) => d !== to?.[i]).length;
  },
  samples: (random) => resizeSamples(random),
});

/** Constant sizes that repeat a changed extent. */
function spellSizes(node: Node, b: Builder): void {
  const sizes = node.inputs[SIZES]?.constant?.load().toArray();
  const { shape } = node.output();
  if (!sizes || !shape) return;
  const next = sizes.map((d, i) => (typeof shape[i] === 'number' ? shape[i] : d));
  if (next.some((d, i) => d !== sizes[i])) node.setInput(SIZES, b.ints(...next));
}

/**
 * The transposed map, one axis after the other. Repeated elements are added up as an average over their window times
 * its size (a reduction takes ONNX Runtime 3x longer); other maps are products with a constant matrix.
 */
function resizeGradient(ctx: GradientContext): Value {
  const { b, node } = ctx;
  const from = knownShape(node, ctx.input(0));
  const to = knownShape(node, ctx.grad());
  const bySize = ctx.has(SIZES) && !isEmpty(node.inputs[SIZES]);
  const scales = bySize ? undefined : constantScales(node);
  if (!bySize && !scales) noGradient(node, 'its scales are computed');
  const how = interpolationOf(ctx.attributes);
  const maps = axesOf(from, to, scales).map((axis) => {
    const taps = tapsOf(axis, how);
    return { axis, taps, count: repeats(axis, taps) };
  });
  const windows = maps.slice(2).map((map) => map.count);
  let grad = ctx.grad();
  let rest = maps.length;
  if (windows.length > 0 && windows.length <= 3 && windows.every((count) => count !== undefined)) {
    grad = windowSums(b, grad, windows);
    rest = 2;
  }
  for (let i = rest - 1; i >= 0; i--) {
    const map = maps[i];
    if (map && map.count !== 1) grad = transposedMap(b, grad, i, map.axis, map.taps);
  }
  return grad;
}

/** Sums over windows that touch. */
function windowSums(b: Builder, x: Value, window: readonly number[]): Value {
  const count = elementCount(window);
  if (count === 1) return x;
  const attributes = { kernel_shape: ints(window), strides: ints(window) };
  const mean = b.op('AveragePool', [x], { attributes });
  return b.op('Mul', [mean, scalarLike(b, mean, count)]);
}

/** Axis i of dY through the transpose of its map. */
function transposedMap(
  b: Builder,
  dY: Value,
  i: number,
  axis: ResizedAxis,
  taps: readonly Taps[],
): Value {
  const dims = dY.shape as readonly number[];
  const dtype = dY.type?.dtype ?? 'float32';
  const matrix = (transposed: boolean): Value =>
    b.constant(tapMatrix(axis, taps, dtype, transposed), 'interpolation');
  if (i === dims.length - 1) return b.op('MatMul', [dY, matrix(true)]);
  const after = elementCount(dims.slice(i + 1));
  const rows = i === dims.length - 2 ? dY : b.op('Reshape', [dY, b.ints(-1, axis.to, after)]);
  const result = b.op('MatMul', [matrix(false), rows]);
  if (rows === dY) return result;
  return b.op('Reshape', [result, b.ints(...dims.map((d, k) => (k === i ? axis.from : d)))]);
}

export const resizeOps: readonly OpDefinition[] = [resize];
