// The part of the table with Resize, in the modes PyTorch has: nearest (two roundings), linear over one to three axes, cubic
// over two; by scales or by sizes, larger or smaller. Where a coordinate is no short binary fraction it is rounded to
// float32, as ONNX Runtime does, and PyTorch in float64 is then that much away.

import fc from 'fast-check';
import { Tensor } from '../../src/ir/index.js';
import { cases, line } from './operator-cases.js';
import type { Line, TorchCase } from './operator-cases.js';

/** Coordinates up to 10 in float32 (eps 6e-8), times what neighbours differ by. */
const ROUNDED = 1e-5;

interface Axis {
  readonly from: number;
  readonly scale: number;
}

/** Scales that leave coordinates exact. */
const EXACT = [2, 4, 0.5, 1, 0.25];
const ANY = [1.5, 1.7, 3, 0.6, 2.3, 0.75, 1 / 3];

const axesOf = (scales: readonly number[], most = 3, least = 1): fc.Arbitrary<Axis[]> =>
  fc.array(
    fc
      .record({ from: fc.integer({ min: 1, max: 6 }), scale: fc.constantFrom(...scales) })
      // Nothing would be left of the axis.
      .filter(({ from, scale }) => from * scale >= 1),
    { minLength: least, maxLength: most },
  );

/**
 * Where PyTorch's nearest is of one mind: a size that doubles is taken for a scale of 2 by some of its kernels and not by
 * others, and an integer coordinate that is rounded falls to one side in the value and to the other in the gradient.
 */
const settled = ({ from, scale }: Axis): boolean => {
  if (EXACT.includes(scale)) return true;
  const to = Math.floor(from * scale);
  const whole = (x: number): boolean => Math.abs(x - Math.round(x)) < 1e-6;
  const ties = Array.from({ length: to }, (_, i) => (i + 0.5) / scale).filter(whole);
  return to !== 2 * from && ties.length === 0;
};

const settledAxes = axesOf([...EXACT, ...ANY]).filter((axes) => axes.every(settled));

const resized = (
  axes: fc.Arbitrary<Axis[]>,
  attributes: Readonly<Record<string, string>>,
): fc.Arbitrary<TorchCase> =>
  cases(fc.tuple(axes, fc.boolean()), ([all, bySize], draw) => {
    const x = draw([2, 2, ...all.map(({ from }) => from)]);
    const scales = all.map(({ scale }) => Math.fround(scale));
    const sizes = all.map(({ from, scale }) => Math.floor(from * Math.fround(scale)));
    return {
      inputs: bySize
        ? [x, undefined, undefined, Tensor.ints([2, 2, ...sizes])]
        : [x, undefined, Tensor.of('float32', [2 + all.length], [1, 1, ...scales])],
      constants: bySize ? [3] : [2],
      attributes,
      differentiable: [0],
    };
  });

const RESIZE = 'resize(x[0], x[2], x[3] if len(x) > 3 else None, a)';

const nearest = (rounding: string, coordinates: string): Record<string, string> => ({
  mode: 'nearest',
  nearest_mode: rounding,
  coordinate_transformation_mode: coordinates,
});

const smooth = (mode: string, coordinates: string): Record<string, string> => ({
  mode,
  coordinate_transformation_mode: coordinates,
});

export const resizeLines: readonly Line[] = [
  line('Resize', RESIZE, resized(settledAxes, nearest('floor', 'asymmetric'))),
  line('Resize', RESIZE, resized(settledAxes, nearest('round_prefer_ceil', 'half_pixel'))),
  line('Resize', RESIZE, resized(axesOf(EXACT), smooth('linear', 'half_pixel'))),
  line('Resize', RESIZE, resized(axesOf(EXACT, 2, 2), smooth('cubic', 'half_pixel'))),
  ...['half_pixel', 'align_corners'].flatMap((coordinates) => [
    {
      ...line('Resize', RESIZE, resized(axesOf(ANY), smooth('linear', coordinates))),
      limit: ROUNDED,
    },
    {
      ...line('Resize', RESIZE, resized(axesOf(ANY, 2, 2), smooth('cubic', coordinates))),
      limit: ROUNDED,
    },
  ]),
];
