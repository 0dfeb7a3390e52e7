// Where a Resize reads from. In: mode, coordinates and extents of one axis. Out: for every result element the
// operand elements it is a weighted sum of, so that all modes are one linear map per axis and the gradient is its
// transpose. Invariant: coordinates are rounded to float32 as ONNX Runtime rounds them, so that "nearest" meets ties
// as it does.

import { Tensor } from '../ir/index.js';
import type { Attributes, DataType } from '../ir/index.js';

/** One axis of a Resize. `scale` is result over operand, as it was given. */
export interface ResizedAxis {
  readonly from: number;
  readonly to: number;
  readonly scale: number;
}

/** Weights of the operand elements that one result element is made of. */
export type Taps = readonly (readonly [index: number, weight: number])[];

export interface Interpolation {
  readonly mode: string;
  readonly coordinates: string;
  readonly nearest: string;
  readonly cubicA: number;
  readonly excludeOutside: boolean;
}

export const MODES = ['nearest', 'linear', 'cubic'];
export const COORDINATES = [
  'half_pixel',
  'pytorch_half_pixel',
  'align_corners',
  'asymmetric',
  'tf_half_pixel_for_nn',
];

/** The attributes of a Resize with defaults filled in. */
export const interpolationOf = (attributes: Attributes): Interpolation => ({
  mode: attributes.string('mode', 'nearest'),
  coordinates: attributes.string('coordinate_transformation_mode', 'half_pixel'),
  nearest: attributes.string('nearest_mode', 'round_prefer_floor'),
  cubicA: attributes.float('cubic_coeff_a', -0.75),
  excludeOutside: attributes.int('exclude_outside', 0) === 1,
});

const f32 = Math.fround;

/** Coordinate in the operand of result element i. */
function sourceOf(i: number, { from, to, scale }: ResizedAxis, coordinates: string): number {
  const halfPixel = (): number => f32(f32(f32(i + 0.5) / f32(scale)) - 0.5);
  switch (coordinates) {
    case 'asymmetric':
      return f32(i / f32(scale));
    case 'align_corners':
      return to === 1 ? 0 : f32((i * (from - 1)) / (to - 1));
    case 'pytorch_half_pixel':
      return to > 1 ? halfPixel() : 0;
    case 'tf_half_pixel_for_nn':
      return f32(f32(i + 0.5) / f32(scale));
    default:
      return halfPixel();
  }
}

function nearestIndex(x: number, mode: string): number {
  switch (mode) {
    case 'floor':
      return Math.floor(x);
    case 'ceil':
      return Math.ceil(x);
    case 'round_prefer_ceil':
      return Math.floor(x + 0.5);
    default:
      return Math.ceil(x - 0.5);
  }
}

/** Keys' cubic convolution kernel (1981) with parameter a: weights of the elements at −1, 0, 1, 2. */
function cubicWeights(t: number, a: number): number[] {
  const inner = (d: number): number => ((a + 2) * d - (a + 3)) * d * d + 1;
  const outer = (d: number): number => ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
  return [outer(t + 1), inner(t), inner(1 - t), outer(2 - t)];
}

/** What each result element of an axis is made of. */
export function tapsOf(axis: ResizedAxis, how: Interpolation): Taps[] {
  const last = axis.from - 1;
  const clamp = (x: number): number => Math.min(Math.max(x, 0), last);
  return Array.from({ length: axis.to }, (_, i): Taps => {
    // An axis of the same size is copied, whatever the rounding.
    if (axis.scale === 1 && axis.from === axis.to) return [[i, 1]];
    const x = sourceOf(i, axis, how.coordinates);
    if (how.mode === 'nearest') return [[clamp(nearestIndex(x, how.nearest)), 1]];
    if (how.mode === 'linear') {
      const low = Math.floor(clamp(x));
      const t = clamp(x) - low;
      return t === 0
        ? [[low, 1]]
        : [
            [low, 1 - t],
            [clamp(low + 1), t],
          ];
    }
    const low = Math.floor(x);
    const weights = cubicWeights(x - low, how.cubicA).map((w, k) =>
      how.excludeOutside && low - 1 + k !== clamp(low - 1 + k) ? 0 : w,
    );
    const sum = how.excludeOutside ? weights.reduce((s, w) => s + w, 0) : 1;
    return weights.map((w, k) => [clamp(low - 1 + k), w / sum] as const);
  });
}

/** Whether an axis repeats every element `count` times in place: the integer nearest upsampling. */
export function repeats({ from, to }: ResizedAxis, taps: readonly Taps[]): number | undefined {
  const count = to / from;
  if (!Number.isInteger(count)) return undefined;
  const blocks = taps.every((t, i) => t.length === 1 && t[0]?.[0] === Math.floor(i / count));
  return blocks ? count : undefined;
}

/** The map of one axis as a matrix [from, to], or [to, from] when transposed. */
export function tapMatrix(
  { from, to }: ResizedAxis,
  taps: readonly Taps[],
  dtype: DataType,
  transposed: boolean,
): Tensor {
  const matrix = Tensor.zeros(dtype, transposed ? [to, from] : [from, to]);
  taps.forEach((list, o) => {
    for (const [i, weight] of list) {
      const place = transposed ? o * from + i : i * to + o;
      matrix.data[place] = (matrix.data[place] as number) + weight;
    }
  });
  return matrix;
}
