// Small convolutions that between them need every path of the kernels and of the lowerings. In: nothing.
// Out: shapes and windows to draw samples from. Invariant: each is small enough for finite differences.

import type { ConvGeometry } from './conv-geometry.js';

/** One small convolution; what is left out has its ONNX default. */
export interface ConvCase {
  readonly label: string;
  readonly x: readonly number[];
  readonly w: readonly number[];
  readonly group?: number;
  readonly strides?: readonly number[];
  readonly dilations?: readonly number[];
  /** Begins, then ends. */
  readonly pads?: readonly number[];
}

export const CONV_CASES: readonly ConvCase[] = [
  { label: '3x3', x: [2, 3, 5, 6], w: [4, 3, 3, 3], pads: [1, 1, 1, 1] },
  { label: '3x3 without pads', x: [2, 2, 5, 4], w: [3, 2, 3, 3] },
  {
    label: '3x3 stride 2, even',
    x: [2, 3, 6, 8],
    w: [2, 3, 3, 3],
    strides: [2, 2],
    pads: [1, 1, 1, 1],
  },
  {
    label: '3x3 stride 2, odd',
    x: [1, 3, 7, 5],
    w: [4, 3, 3, 3],
    strides: [2, 2],
    pads: [1, 1, 1, 1],
  },
  {
    label: '7x7 stride 2 stem',
    x: [1, 3, 12, 11],
    w: [2, 3, 7, 7],
    strides: [2, 2],
    pads: [3, 3, 3, 3],
  },
  { label: '1x1', x: [2, 4, 3, 5], w: [3, 4, 1, 1] },
  { label: '1x1 on a small map', x: [3, 8, 2, 2], w: [6, 8, 1, 1] },
  { label: '1x1 stride 2, even', x: [2, 4, 6, 4], w: [3, 4, 1, 1], strides: [2, 2] },
  { label: '1x1 stride 2, odd', x: [2, 4, 5, 7], w: [3, 4, 1, 1], strides: [2, 2] },
  { label: '1x1 with pads', x: [1, 2, 3, 3], w: [2, 2, 1, 1], pads: [1, 1, 1, 1] },
  { label: 'stride 3 beyond the kernel', x: [1, 2, 8, 8], w: [2, 2, 2, 2], strides: [3, 3] },
  { label: 'dilation 2', x: [1, 2, 7, 6], w: [3, 2, 3, 3], dilations: [2, 2], pads: [2, 2, 2, 2] },
  {
    label: 'dilation 2, stride 2',
    x: [1, 2, 9, 8],
    w: [2, 2, 3, 2],
    strides: [2, 2],
    dilations: [2, 2],
    pads: [1, 2, 1, 1],
  },
  {
    label: 'dilation 3 against stride 2 mixed',
    x: [1, 2, 9, 8],
    w: [2, 2, 2, 3],
    strides: [1, 2],
    dilations: [3, 1],
    pads: [0, 1, 2, 0],
  },
  { label: 'asymmetric pads', x: [2, 2, 5, 5], w: [2, 2, 3, 2], pads: [0, 1, 2, 0] },
  { label: 'pads beyond the kernel', x: [1, 2, 3, 4], w: [2, 2, 2, 2], pads: [2, 2, 2, 2] },
  {
    label: 'even kernel, stride 2',
    x: [1, 2, 6, 7],
    w: [3, 2, 4, 2],
    strides: [2, 2],
    pads: [1, 0, 1, 1],
  },
  { label: 'group 2', x: [2, 4, 5, 4], w: [6, 2, 3, 3], group: 2, pads: [1, 1, 1, 1] },
  { label: 'group 2, 1x1', x: [2, 4, 3, 4], w: [6, 2, 1, 1], group: 2 },
  {
    label: 'group 3, stride 2',
    x: [2, 6, 5, 6],
    w: [3, 2, 3, 3],
    group: 3,
    strides: [2, 2],
    pads: [1, 1, 1, 1],
  },
  {
    label: 'group 2, dilation 2, stride 2',
    x: [1, 4, 8, 9],
    w: [4, 2, 3, 3],
    group: 2,
    strides: [2, 2],
    dilations: [2, 2],
    pads: [2, 2, 2, 2],
  },
  { label: 'depthwise', x: [2, 4, 5, 5], w: [4, 1, 3, 3], group: 4, pads: [1, 1, 1, 1] },
  {
    label: 'depthwise, stride 2',
    x: [2, 3, 6, 5],
    w: [3, 1, 3, 3],
    group: 3,
    strides: [2, 2],
    pads: [1, 1, 1, 1],
  },
  {
    label: 'depthwise, dilation 2',
    x: [1, 3, 7, 6],
    w: [3, 1, 3, 3],
    group: 3,
    dilations: [2, 2],
    pads: [2, 2, 2, 2],
  },
  {
    label: 'depthwise, two per channel',
    x: [2, 3, 5, 5],
    w: [6, 1, 3, 3],
    group: 3,
    pads: [1, 1, 1, 1],
  },
  { label: 'kernel as large as the map', x: [2, 3, 4, 4], w: [5, 3, 4, 4] },
  { label: 'one channel', x: [3, 1, 5, 5], w: [1, 1, 3, 3], pads: [1, 1, 1, 1] },
  { label: '1x3 kernel', x: [2, 3, 4, 6], w: [2, 3, 1, 3], pads: [0, 1, 0, 1] },
  { label: '1-D', x: [2, 3, 9], w: [4, 3, 3], pads: [1, 1] },
  {
    label: '1-D, stride 2, group 3',
    x: [2, 3, 9],
    w: [6, 1, 3],
    group: 3,
    strides: [2],
    pads: [1, 0],
  },
  { label: '1-D, 1 wide', x: [2, 4, 7], w: [3, 4, 1] },
  {
    label: '3-D',
    x: [1, 2, 4, 5, 4],
    w: [2, 2, 3, 2, 3],
    strides: [2, 1, 2],
    pads: [1, 0, 1, 1, 1, 1],
  },
  { label: '3-D, group 2', x: [2, 4, 3, 4, 3], w: [2, 2, 2, 2, 2], group: 2 },
];

/** Geometry of a case; the output extents by the usual formula. */
export function caseGeometry(c: ConvCase): ConvGeometry {
  const rank = c.x.length - 2;
  const one = new Array<number>(rank).fill(1);
  const pads = c.pads ?? [...one, ...one].map(() => 0);
  const [strides, dilations] = [c.strides ?? one, c.dilations ?? one];
  const input = c.x.slice(2);
  const kernel = c.w.slice(2);
  const output = input.map((extent, i) => {
    const window = (dilations[i] ?? 1) * ((kernel[i] ?? 1) - 1) + 1;
    const padded = extent + (pads[i] ?? 0) + (pads[rank + i] ?? 0);
    return Math.floor((padded - window) / (strides[i] ?? 1)) + 1;
  });
  return {
    strides,
    dilations,
    begin: pads.slice(0, rank),
    end: pads.slice(rank),
    batch: c.x[0] ?? 0,
    group: c.group ?? 1,
    inChannels: c.x[1] ?? 0,
    outChannels: c.w[0] ?? 0,
    kernel,
    input,
    output,
  };
}
