// Samples of Resize: modes as exporters write them, and every coordinate mode up and down. Out: operands and attributes.

import { Attributes, Tensor, float, int, string } from '../ir/index.js';
import type { Attribute } from '../ir/index.js';
import type { OpSample } from './definition.js';
import type { Random } from './random.js';

/** Operands of Resize. */
export const SCALES = 2;
export const SIZES = 3;

interface Case {
  readonly label: string;
  readonly x: readonly number[];
  readonly scales?: readonly number[];
  readonly sizes?: readonly number[];
  readonly attributes: Record<string, Attribute>;
}

function resizeCases(): Case[] {
  const nearest = (rounding: string, coordinates: string): Record<string, Attribute> => ({
    mode: string('nearest'),
    nearest_mode: string(rounding),
    coordinate_transformation_mode: string(coordinates),
  });
  const smooth = (mode: string, coordinates: string): Record<string, Attribute> => ({
    mode: string(mode),
    coordinate_transformation_mode: string(coordinates),
  });
  const x = [1, 2, 3, 4];
  return [
    { label: 'nearest x2', x, scales: [1, 1, 2, 2], attributes: nearest('floor', 'asymmetric') },
    {
      label: 'nearest x3x2, half pixels',
      x,
      scales: [1, 1, 3, 2],
      attributes: nearest('round_prefer_floor', 'half_pixel'),
    },
    {
      label: 'nearest x2 along one axis',
      x: [2, 3, 4],
      scales: [1, 1, 2],
      attributes: nearest('floor', 'asymmetric'),
    },
    {
      label: 'nearest, volumes',
      x: [1, 2, 2, 3, 2],
      scales: [1, 1, 2, 2, 3],
      attributes: nearest('floor', 'asymmetric'),
    },
    {
      label: 'nearest x1.6',
      x,
      scales: [1, 1, 1.6, 2.5],
      attributes: nearest('floor', 'asymmetric'),
    },
    {
      label: 'nearest down by half',
      x: [2, 2, 4, 6],
      scales: [1, 1, 0.5, 0.5],
      attributes: nearest('floor', 'asymmetric'),
    },
    ...['round_prefer_floor', 'round_prefer_ceil', 'floor', 'ceil'].map((rounding) => ({
      label: `nearest by size, ${rounding}`,
      x,
      sizes: [1, 2, 5, 7],
      attributes: nearest(rounding, 'half_pixel'),
    })),
    {
      label: 'nearest, for TensorFlow',
      x,
      sizes: [1, 2, 6, 3],
      attributes: nearest('floor', 'tf_half_pixel_for_nn'),
    },
    {
      label: 'nearest, corners aligned',
      x,
      sizes: [1, 2, 6, 7],
      attributes: nearest('round_prefer_ceil', 'align_corners'),
    },
    {
      label: 'channels too',
      x,
      scales: [1, 2, 2, 1],
      attributes: nearest('floor', 'asymmetric'),
    },
    ...['half_pixel', 'pytorch_half_pixel', 'align_corners', 'asymmetric'].flatMap((c) => [
      { label: `linear x2, ${c}`, x, scales: [1, 1, 2, 2], attributes: smooth('linear', c) },
      { label: `linear by size, ${c}`, x, sizes: [1, 2, 7, 2], attributes: smooth('linear', c) },
      { label: `linear to one, ${c}`, x, sizes: [1, 2, 1, 5], attributes: smooth('linear', c) },
    ]),
    {
      label: 'linear x1.7',
      x,
      scales: [1, 1, 1.7, 1.3],
      attributes: smooth('linear', 'half_pixel'),
    },
    {
      label: 'linear, volumes',
      x: [1, 2, 2, 3, 2],
      scales: [1, 1, 2, 1.5, 3],
      attributes: smooth('linear', 'half_pixel'),
    },
    {
      label: 'cubic',
      x: [1, 2, 5, 4],
      scales: [1, 1, 2, 1.5],
      attributes: smooth('cubic', 'half_pixel'),
    },
    {
      label: 'cubic, nothing from outside',
      x: [1, 2, 5, 4],
      sizes: [1, 2, 3, 8],
      attributes: {
        ...smooth('cubic', 'align_corners'),
        cubic_coeff_a: float(-0.5),
        exclude_outside: int(1),
      },
    },
  ];
}

export const resizeSamples = (random: Random): OpSample[] =>
  resizeCases().map(({ label, x, scales, sizes, attributes }) => ({
    label,
    inputs: [
      random.tensor(x),
      undefined,
      scales && Tensor.of('float32', [scales.length], scales.map(Math.fround)),
      ...(sizes ? [Tensor.ints(sizes)] : []),
    ],
    constants: [SCALES, SIZES],
    differentiable: [0],
    attributes: new Attributes(attributes),
  }));
