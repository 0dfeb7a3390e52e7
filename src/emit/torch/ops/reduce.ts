// Reductions and pooling.

import { isStatic } from '../../../ir/index.js';
import type { Dim } from '../../../ir/index.js';
import { resolvePool } from '../../../ops/index.js';
import { floatText, listed, py, size, sizes } from '../code.js';
import type { Code } from '../code.js';
import { padding } from './layers.js';
import { axisOf, numbers, rankOf } from '../writing.js';
import type { Writer, Writers, Writing } from '../writing.js';

interface Reduction {
  readonly x: Code;
  /** Python for the axes and keepdim. */
  readonly how: Code;
  readonly axes: readonly number[];
  readonly keep: boolean;
}

/** undefined: nothing is reduced. */
function reduction(w: Writing, operand: boolean): Reduction | undefined {
  const rank = rankOf(w);
  const listedAxes = operand ? (w.has(1) ? numbers(w, 1) : undefined) : w.attributes.ints('axes');
  const none = listedAxes === undefined || listedAxes.length === 0;
  if (none && w.attributes.int('noop_with_empty_axes', 0) === 1) return undefined;
  const all = Array.from({ length: rank }, (_, i) => i);
  const axes = none ? all : listedAxes.map((axis) => axisOf(axis, rank));
  const keep = w.attributes.int('keepdims', 1) === 1;
  const dim = axes.length === 1 ? py`${axes[0] ?? 0}` : py`(${listed(axes)})`;
  const how = rank === 0 ? py`` : keep ? py`${dim}, keepdim=True` : dim;
  return { x: w.arg(0), how, axes, keep };
}

const reduced =
  (write: (r: Reduction) => Code, operand = false, empty: (x: Code) => Code = (x) => x): Writer =>
  (w) => {
    const r = reduction(w, operand);
    return r ? write(r) : empty(w.arg(0));
  };

/** One axis after the other, the last first. */
function product({ x, axes, keep }: Reduction): Code {
  return [...axes]
    .sort((a, b) => b - a)
    .reduce((at, axis) => py`${at}.prod(${axis}${keep ? ', keepdim=True' : ''})`, x);
}

const planeAxes = (w: Writing): Code => {
  const axes = Array.from({ length: rankOf(w) - 2 }, (_, i) => i + 2);
  return axes.length === 1 ? py`${axes[0] ?? 2}` : py`(${listed(axes)})`;
};

function maxPool(w: Writing): Code {
  if (w.node.outputs[1]?.isUsed === true) return w.fail('its indices are used');
  const input = w.shape(0).slice(2);
  const kernel = w.attributes.ints('kernel_shape') ?? [];
  const g = resolvePool(w.attributes, input);
  const [begin, end] = [g.begin, g.end].map((list) =>
    list.map((v) => v ?? w.fail('unknown extent')),
  );
  const ceil = w.attributes.int('ceil_mode', 0) === 1;
  const simple = begin?.every((b, i) => b === end?.[i] && 2 * b <= (kernel[i] ?? 0)) ?? false;
  if (!simple && ceil) return w.fail('it is padded unevenly and rounds up');
  const x = simple
    ? w.arg(0)
    : py`F.pad(${w.arg(0)}, ${padding(begin ?? [], end ?? [])}, value=-float('inf'))`;
  const pads = simple ? (begin ?? []) : [];
  return py`F.max_pool${kernel.length}d(${listed([
    x,
    sizes(kernel, 'kernel'),
    py`stride=${sizes(g.strides, 'stride')}`,
    ...(pads.some((p) => p > 0) ? [py`padding=${sizes(pads, 'padding')}`] : []),
    ...(g.dilations.some((d) => d > 1) ? [py`dilation=${sizes(g.dilations, 'dilation')}`] : []),
    ...(ceil ? ['ceil_mode=True'] : []),
  ])})`;
}

function averagePool(w: Writing): Code {
  const kernel = w.attributes.ints('kernel_shape') ?? [];
  const g = resolvePool(w.attributes, w.shape(0).slice(2));
  const [begin, end] = [g.begin, g.end].map((list) =>
    list.map((v) => v ?? w.fail('unknown extent')),
  );
  const ceil = w.attributes.int('ceil_mode', 0) === 1;
  const include = w.attributes.int('count_include_pad', 0) === 1;
  const padded = begin?.some((b, i) => b > 0 || (end?.[i] ?? 0) > 0) ?? false;
  const simple = begin?.every((b, i) => b === end?.[i] && 2 * b <= (kernel[i] ?? 0)) ?? false;
  if (g.dilations.some((d) => d > 1)) return w.fail('its window is dilated');
  if (!simple && (ceil || !include)) return w.fail('it is padded unevenly');
  const x = simple ? w.arg(0) : py`F.pad(${w.arg(0)}, ${padding(begin ?? [], end ?? [])})`;
  return py`F.avg_pool${kernel.length}d(${listed([
    x,
    sizes(kernel, 'kernel'),
    py`stride=${sizes(g.strides, 'stride')}`,
    ...(simple && padded ? [py`padding=${sizes(begin ?? [], 'padding')}`] : []),
    ...(ceil ? ['ceil_mode=True'] : []),
    ...(include || !padded ? [] : ['count_include_pad=False']),
  ])})`;
}

/** Modes of F.interpolate, by mode, coordinates and rounding of a Resize. */
function interpolation(w: Writing, planes: number): string {
  const { attributes } = w;
  const mode = attributes.string('mode', 'nearest');
  const where = attributes.string('coordinate_transformation_mode', 'half_pixel');
  const nearest = attributes.string('nearest_mode', 'round_prefer_floor');
  if (attributes.int('exclude_outside', 0) === 1) return w.fail('it leaves out what lies outside');
  if (mode === 'nearest') {
    if (where === 'asymmetric' && nearest === 'floor') return "mode='nearest'";
    if (where === 'half_pixel' && nearest.startsWith('round')) return "mode='nearest-exact'";
    return w.fail(`PyTorch has no nearest elements with ${where} and ${nearest}`);
  }
  if (
    mode === 'cubic' &&
    (planes !== 2 || Math.abs(attributes.float('cubic_coeff_a', -0.75) + 0.75) > 1e-6)
  )
    return w.fail('PyTorch has no such cubic interpolation');
  const name =
    mode === 'cubic' ? 'bicubic' : (['linear', 'bilinear', 'trilinear'][planes - 1] ?? '');
  if (where === 'align_corners') return `mode='${name}', align_corners=True`;
  if (where === 'half_pixel' || where === 'pytorch_half_pixel')
    return `mode='${name}', align_corners=False`;
  return w.fail(`PyTorch has no linear interpolation with ${where}`);
}

function resize(w: Writing): Code {
  const [from, to] = [w.shape(0), w.outShape()];
  const planes = from.length - 2;
  const target: readonly Dim[] = to.slice(2);
  if (planes < 1 || planes > 3 || from[0] !== to[0] || from[1] !== to[1] || !isStatic(target))
    return w.fail('it resizes other axes than those of an image');
  const extents = py`(${listed(target.map((d) => size(d, 'extent')))}${target.length === 1 ? ',' : ''})`;
  return py`F.interpolate(${w.arg(0)}, size=${extents}, ${interpolation(w, planes)})`;
}

export const reductions: Writers = {
  ReduceSum: reduced(({ x, how }) => py`${x}.sum(${how})`, true),
  ReduceMean: reduced(({ x, how }) => py`${x}.mean(${how})`),
  ReduceMax: reduced(({ x, how }) => py`${x}.amax(${how})`),
  ReduceMin: reduced(({ x, how }) => py`${x}.amin(${how})`),
  ReduceProd: reduced(product),
  ReduceL1: reduced(
    ({ x, how }) => py`${x}.abs().sum(${how})`,
    false,
    (x) => py`${x}.abs()`,
  ),
  ReduceL2: reduced(
    ({ x, how }) => py`(${x} * ${x}).sum(${how}).sqrt()`,
    false,
    (x) => py`${x}.abs()`,
  ),
  ReduceSumSquare: reduced(
    ({ x, how }) => py`(${x} * ${x}).sum(${how})`,
    false,
    (x) => py`${x} * ${x}`,
  ),
  ReduceLogSum: reduced(
    ({ x, how }) => py`${x}.sum(${how}).log()`,
    false,
    (x) => py`${x}.log()`,
  ),
  ReduceLogSumExp: reduced(({ x, how }) => py`${x}.logsumexp(${how})`),
  MaxPool: maxPool,
  AveragePool: averagePool,
  GlobalAveragePool: (w) => py`${w.arg(0)}.mean(${planeAxes(w)}, keepdim=True)`,
  GlobalMaxPool: (w) => py`F.adaptive_max_pool${rankOf(w) - 2}d(${w.arg(0)}, 1)`,
  Resize: resize,
  RandomUniform: (w) => {
    const shape = w.attributes.ints('shape') ?? [];
    return py`torch.empty(${listed(shape)}).uniform_(${bounds(w)})`;
  },
  RandomUniformLike: (w) => py`torch.empty_like(${w.arg(0)}).uniform_(${bounds(w)})`,
  Bernoulli: (w) => py`torch.bernoulli(${w.arg(0)})`,
};

const bounds = (w: Writing): string =>
  [w.attributes.float('low', 0), w.attributes.float('high', 1)].map(floatText).join(', ');
