// Random convolutions and poolings: strides, dilations, pads, groups, one and two axes.

import fc from 'fast-check';
import type { Tensor } from '../../src/ir/index.js';
import { cases } from './operator-cases.js';
import type { Draw, TorchCase } from './operator-cases.js';

const range = (min: number, max: number): fc.Arbitrary<number> => fc.integer({ min, max });

interface Window {
  readonly kernel: number;
  readonly stride: number;
  readonly dilation: number;
  readonly begin: number;
  readonly end: number;
  readonly room: number;
}

const window: fc.Arbitrary<Window> = fc.record({
  kernel: range(1, 3),
  stride: range(1, 3),
  dilation: range(1, 2),
  begin: range(0, 1),
  end: range(0, 1),
  room: range(0, 3),
});

const windows = fc.array(window, { minLength: 1, maxLength: 2 });
const reachOf = ({ kernel, dilation }: Window): number => (kernel - 1) * dilation + 1;

const shared = (all: readonly Window[]): Record<string, number[]> => ({
  kernel_shape: all.map((w) => w.kernel),
  strides: all.map((w) => w.stride),
  dilations: all.map((w) => w.dilation),
  pads: [...all.map((w) => w.begin), ...all.map((w) => w.end)],
});

interface Channels {
  readonly batch: number;
  readonly group: number;
  readonly inner: number;
  readonly outer: number;
  readonly biased: boolean;
}

const channels: fc.Arbitrary<Channels> = fc.record({
  batch: range(1, 2),
  group: range(1, 3),
  inner: range(1, 3),
  outer: range(1, 2),
  biased: fc.boolean(),
});

const operandsOf = (
  all: readonly Window[],
  { batch, group, inner, outer, biased }: Channels,
  draw: Draw,
): Tensor[] => [
  draw([batch, group * inner, ...all.map((w) => reachOf(w) + w.room)]),
  draw([group * outer, inner, ...all.map((w) => w.kernel)]),
  ...(biased ? [draw([group * outer])] : []),
];

export const convCases: fc.Arbitrary<TorchCase> = cases(
  fc.tuple(windows, channels),
  ([all, given], draw) => ({
    inputs: operandsOf(all, given, draw),
    attributes: { ...shared(all), group: given.group },
  }),
);

/** ONNX Runtime refuses auto_pad with dilations, and where strides leave elements out: pads would be negative. */
const padded = (w: Window): Window => ({ ...w, stride: Math.min(w.stride, w.kernel), dilation: 1 });
const autoPads = fc.constantFrom('SAME_UPPER', 'SAME_LOWER');

export const convSameCases: fc.Arbitrary<TorchCase> = cases(
  fc.tuple(windows, channels, autoPads),
  ([all, given, autoPad], draw) => {
    const { kernel_shape = [], strides = [], dilations = [] } = shared(all.map(padded));
    return {
      inputs: operandsOf(all, given, draw),
      attributes: { kernel_shape, strides, dilations, auto_pad: autoPad, group: given.group },
    };
  },
);

export const convTransposeCases: fc.Arbitrary<TorchCase> = cases(
  fc.tuple(windows, channels),
  ([given, { batch, group, inner, outer, biased }], draw) => {
    // PyTorch pads both sides alike, and adds at the end less than a stride.
    const all = given.map((w) => ({ ...w, begin: w.kernel > 1 ? w.begin : 0 }));
    return {
      inputs: [
        draw([batch, group * inner, ...all.map((w) => 2 + w.room)]),
        draw([group * inner, outer, ...all.map((w) => w.kernel)]),
        ...(biased ? [draw([group * outer])] : []),
      ],
      attributes: {
        ...shared(all.map((w) => ({ ...w, end: w.begin }))),
        group,
        output_padding: all.map((w) => w.end % w.stride),
      },
    };
  },
);

export const poolCases = (kind: 'max' | 'average'): fc.Arbitrary<TorchCase> =>
  cases(fc.tuple(windows, channels, range(0, 1)), ([given, { batch, inner }, count], draw) => {
    const begun = given.map((w) => ({ ...w, begin: Math.min(w.begin, w.kernel >> 1) }));
    const all =
      kind === 'max'
        ? begun.map((w) => ({ ...w, end: Math.min(w.end, w.kernel >> 1) }))
        : begun.map((w) => ({ ...w, end: w.begin, dilation: 1 }));
    const { dilations, ...rest } = shared(all);
    return {
      inputs: [draw([batch, inner, ...all.map((w) => reachOf(w) + w.room)])],
      attributes: {
        ...rest,
        ...(kind === 'max' && dilations ? { dilations } : { count_include_pad: count }),
      },
    };
  });

/** Windows whose padding follows from the extents, or whose number is rounded up. */
export const roundedPoolCases = (
  kind: 'max' | 'average',
  rounding: 'ceil' | 'same',
): fc.Arbitrary<TorchCase> =>
  cases(
    fc.tuple(windows, channels, range(0, 1), autoPads),
    ([given, { batch, inner }, count, autoPad], draw) => {
      // PyTorch pads both sides alike, by half a kernel at most; its averages have no dilation.
      const all = given.map((w) => {
        const begin = Math.min(w.begin, w.kernel >> 1);
        if (rounding === 'same') return padded(w);
        return { ...w, begin, end: begin, dilation: kind === 'max' ? w.dilation : 1 };
      });
      const { kernel_shape = [], strides = [], dilations = [], pads = [] } = shared(all);
      return {
        inputs: [draw([batch, inner, ...all.map((w) => reachOf(w) + w.room)])],
        attributes: {
          kernel_shape,
          strides,
          ...(kind === 'max' ? { dilations } : { count_include_pad: count }),
          ...(rounding === 'ceil' ? { pads, ceil_mode: 1 } : { auto_pad: autoPad }),
        },
      };
    },
  );
