// Small poolings to test with. Invariant: between them they need every path of the operators, of their
// gradients and of the lowerings.

import { Tensor, elementCount, int, ints, string } from '../ir/index.js';
import type { Attribute } from '../ir/index.js';
import type { Random } from './random.js';

/** No two elements closer than 0.01: finite differences never change which one is the maximum. */
export function distinct(random: Random, dims: readonly number[]): Tensor {
  const size = elementCount(dims);
  const values = Array.from({ length: size }, (_, i) => 0.01 * (i - size / 2));
  for (let i = size - 1; i > 0; i--) {
    const j = random.integer(0, i);
    [values[i], values[j]] = [values[j] ?? 0, values[i] ?? 0];
  }
  return Tensor.of('float32', dims, values.map(Math.fround));
}

export interface PoolCase {
  readonly label: string;
  readonly x: readonly number[];
  readonly attributes: Readonly<Record<string, Attribute>>;
}

const two = ints([2, 2]);
const three = ints([3, 3]);
const ones = ints([1, 1, 1, 1]);

/** Windows that between them need every path of the lowerings. */
const COMMON_CASES: readonly PoolCase[] = [
  { label: '2x2 stride 2', x: [2, 3, 4, 6], attributes: { kernel_shape: two, strides: two } },
  {
    label: '3x3 stride 2, overlapping',
    x: [2, 2, 8, 7],
    attributes: { kernel_shape: three, strides: two, pads: ones },
  },
  {
    label: '3x3 stride 1, overlapping',
    x: [1, 2, 5, 4],
    attributes: { kernel_shape: three, pads: ones },
  },
  {
    label: 'a remainder is left out',
    x: [1, 2, 5, 7],
    attributes: { kernel_shape: two, strides: two },
  },
  {
    label: 'ceil_mode',
    x: [1, 2, 5, 6],
    attributes: { kernel_shape: two, strides: two, ceil_mode: int(1) },
  },
  {
    label: 'ceil_mode with pads',
    x: [1, 2, 6, 6],
    attributes: { kernel_shape: three, strides: two, pads: ones, ceil_mode: int(1) },
  },
  {
    label: 'ceil_mode, a window would start in the padding',
    x: [1, 2, 5, 4],
    attributes: { kernel_shape: two, strides: ints([3, 3]), pads: ones, ceil_mode: int(1) },
  },
  {
    label: 'SAME_UPPER',
    x: [1, 2, 6, 5],
    attributes: { kernel_shape: three, strides: two, auto_pad: string('SAME_UPPER') },
  },
  {
    label: 'SAME_LOWER',
    x: [1, 2, 5, 6],
    attributes: { kernel_shape: two, strides: two, auto_pad: string('SAME_LOWER') },
  },
  {
    label: 'VALID',
    x: [1, 2, 6, 5],
    attributes: { kernel_shape: three, strides: two, auto_pad: string('VALID') },
  },
  {
    label: 'stride beyond the kernel',
    x: [1, 2, 8, 7],
    attributes: { kernel_shape: two, strides: ints([3, 4]) },
  },
  {
    label: 'unequal axes',
    x: [1, 2, 6, 5],
    attributes: { kernel_shape: ints([3, 2]), strides: ints([1, 2]), pads: ints([1, 0, 0, 1]) },
  },
  {
    label: '1-D',
    x: [2, 3, 9],
    attributes: { kernel_shape: ints([3]), strides: ints([2]), pads: ints([1, 1]) },
  },
  {
    label: '3-D',
    x: [1, 2, 4, 5, 4],
    attributes: { kernel_shape: ints([2, 3, 2]), strides: ints([2, 1, 2]) },
  },
  { label: 'the whole plane', x: [2, 3, 4, 4], attributes: { kernel_shape: ints([4, 4]) } },
];

export const POOL_CASES: readonly PoolCase[] = [
  ...COMMON_CASES,
  { label: 'dilation 2', x: [1, 2, 8, 7], attributes: { kernel_shape: three, dilations: two } },
  {
    label: 'dilation 2, stride 2, pads',
    x: [1, 2, 9, 8],
    attributes: { kernel_shape: three, dilations: two, strides: two, pads: ones },
  },
  {
    label: 'dilation 2, stride 3',
    x: [1, 2, 9, 8],
    attributes: { kernel_shape: two, dilations: two, strides: three },
  },
];

export const AVERAGE_CASES: readonly PoolCase[] = COMMON_CASES.flatMap((c) => [
  c,
  ...('pads' in c.attributes || 'auto_pad' in c.attributes
    ? [
        {
          ...c,
          label: `${c.label}, padding counted`,
          attributes: { ...c.attributes, count_include_pad: int(1) },
        },
      ]
    : []),
]);
