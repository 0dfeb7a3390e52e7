// Forms of dW, the gradient of a convolution by its weight: dW[m,c,t] = Σ over images and positions of
// X[n,c,s·i + d·t − p] · dY[n,m,i]. In: X [N,C,…], dY [N,M,…]. Out: dW [M,C/g,k…]. Invariant: no temporary
// is larger than a few copies of X, of dY or of the per-image products.

import { elementCount } from '../ir/index.js';
import type { Value } from '../ir/index.js';
import { at } from '../ops/conv-geometry.js';
import type { ConvGeometry } from '../ops/conv-geometry.js';
import { endReach, isPointwise, sizesOf } from './conv-form.js';
import type { ConvForm, Steps } from './conv-form.js';

const range = (first: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => first + i);

const weightShape = (g: ConvGeometry): number[] => [
  g.outChannels,
  g.inChannels / g.group,
  ...g.kernel,
];

/** The part of data [N,C,…] that one kernel tap sees, one element per output position. */
function tapSlice(
  steps: Steps,
  g: ConvGeometry,
  data: Value,
  offset: readonly number[],
  first = 2,
): Value {
  return steps.slice(
    data,
    g.output.map((count, i) => ({
      axis: first + i,
      start: at(offset, i),
      end: at(offset, i) + at(g.strides, i) * (count - 1) + 1,
      step: at(g.strides, i),
    })),
  );
}

/** Offsets of all taps in padded data, in the order of the weight's elements. */
function tapOffsets(g: ConvGeometry): number[][] {
  let offsets: number[][] = [[]];
  g.kernel.forEach((k, i) => {
    offsets = offsets.flatMap((o) => range(0, k).map((t) => [...o, t * at(g.dilations, i)]));
  });
  return offsets;
}

/** Elements of the products of single images, before they are added up. */
const perImage = (g: ConvGeometry): number => (g.batch * g.outChannels * g.inChannels) / g.group;

/** Σ over n, i of dY[n,m,i] · x[n,c,i] for x already cut to the output positions: [M, C/g]. */
function imageProducts(steps: Steps, g: ConvGeometry, x: Value, dY: Value): Value {
  const { batch, group, inChannels, outChannels } = g;
  const plane = elementCount(g.output);
  const [perIn, perOut] = [inChannels / group, outChannels / group];
  const split = group === 1 ? [batch] : [batch, group];
  const rows = steps.reshape(dY, [...split, perOut, plane]);
  const columns = steps.transpose(steps.reshape(x, [...split, perIn, plane]), [
    ...range(0, split.length),
    split.length + 1,
    split.length,
  ]);
  const sum = steps.sumFirst(steps.matmul(rows, columns));
  return steps.reshape(sum, [outChannels, perIn]);
}

/** [N,C,…] → [C, N·positions]: all images side by side. */
const joined = (steps: Steps, value: Value): Value => {
  const [batch = 1, channels = 1, ...spatial] = steps.shape(value);
  const perm = [1, 0, ...spatial.map((_, i) => i + 2)];
  return steps.reshape(steps.transpose(value, perm), [channels, batch * elementCount(spatial)]);
};

/** 1x1: one product per image, added up. */
const pointwise: ConvForm = {
  name: 'pointwise',
  targets: ['cpu', 'portable'],
  applies: isPointwise,
  cost: (g) => sizesOf(g).x + 2 * perImage(g),
  build(steps, g, x, dY) {
    const cut = tapSlice(
      steps,
      g,
      x,
      g.kernel.map(() => 0),
    );
    return steps.reshape(imageProducts(steps, g, cut, dY), weightShape(g));
  },
};

/** 1x1 with few positions and many channels: one product over all images, nothing to add up. */
const pointwiseJoined: ConvForm = {
  name: 'pointwise-joined',
  targets: ['cpu', 'portable'],
  applies: (g) => isPointwise(g) && g.group === 1,
  cost: (g) => sizesOf(g).x + sizesOf(g).y,
  build(steps, g, x, dY) {
    const cut = tapSlice(
      steps,
      g,
      x,
      g.kernel.map(() => 0),
    );
    const product = steps.timesTransposed(joined(steps, dY), joined(steps, cut));
    return steps.reshape(product, weightShape(g));
  },
};

/** One convolution in which the positions of dY are the kernel: windows of dW as windows of X. */
interface Correlation {
  readonly begin: readonly number[];
  readonly end: readonly number[];
  /** Drops what the output has beyond the taps of the weight; `first` is its first spatial axis. */
  readonly cut: (steps: Steps, value: Value, first: number) => Value;
}

/**
 * The window of dY slides over X. Where the windows of the forward pass read beyond the data the pad makes
 * the result exact; where they stopped short of its end it has taps too many.
 */
function correlation(g: ConvGeometry): Correlation {
  return {
    begin: g.begin,
    end: endReach(g).map((p) => Math.max(0, p)),
    cut: (steps, value, first) =>
      steps.slice(
        value,
        g.kernel.map((k, i) => ({ axis: first + i, start: 0, end: k })),
      ),
  };
}

/** One filter per channel: X and dY as one image each whose channels are (n, c); neither is copied. */
const perChannel: ConvForm = {
  name: 'per-channel',
  targets: ['cpu'],
  applies: (g) => g.inChannels === g.group,
  cost: (g) => sizesOf(g).work / 4,
  build(steps, g, x, dY) {
    const { begin, end, cut } = correlation(g);
    const conv = steps.conv(
      steps.reshape(x, [1, g.batch * g.inChannels, ...g.input]),
      steps.reshape(dY, [g.batch * g.outChannels, 1, ...g.output]),
      {
        kernel: g.output,
        strides: g.dilations,
        dilations: g.strides,
        begin,
        end,
        group: g.batch * g.group,
      },
    );
    const taps = steps.reshape(cut(steps, conv, 2), [g.batch, g.outChannels, ...g.kernel]);
    return steps.reshape(steps.sumFirst(taps), weightShape(g));
  },
};

/** A 1-D geometry as a 2-D one of height 1. */
const lifted = (g: ConvGeometry): ConvGeometry =>
  g.kernel.length === 2
    ? g
    : {
        ...g,
        strides: [1, ...g.strides],
        dilations: [1, ...g.dilations],
        begin: [0, ...g.begin],
        end: [0, ...g.end],
        kernel: [1, ...g.kernel],
        input: [1, ...g.input],
        output: [1, ...g.output],
      };

/**
 * One convolution over rows of X with the channels innermost: a step of C along such a row is a step of one
 * position, so an output row holds all taps of all channels. Images are its channels, dY its kernel.
 */
const rows: ConvForm = {
  name: 'rows',
  targets: ['cpu'],
  applies: (g) => g.kernel.length <= 2,
  cost: (g) => sizesOf(g).work / 8,
  build(steps, original, x, dY) {
    const g = lifted(original);
    const { batch, group, inChannels, outChannels } = g;
    const per = inChannels / group;
    const [height = 1, width = 1] = g.input;
    const [kh = 1, kw = 1] = g.kernel;
    const [sh = 1, sw = 1] = g.strides;
    const [dh = 1, dw = 1] = g.dilations;
    const { begin, end } = correlation(g);
    const [top = 0, left = 0] = begin;
    const [bottom = 0, right = 0] = end;
    const data = steps.reshape(
      steps.transpose(steps.reshape(x, [batch, group, per, height, width]), [1, 0, 3, 4, 2]),
      [1, group * batch, height, width * per],
    );
    const kernel = steps.transpose(
      steps.reshape(dY, [batch, outChannels, ...g.output]),
      [1, 0, 2, 3],
    );
    const conv = steps.conv(data, kernel, {
      kernel: g.output,
      strides: [dh, 1],
      dilations: [sh, sw * per],
      begin: [top, left * per],
      end: [bottom, right * per],
      group,
    });
    const [, , tall = 1, wide = 1] = steps.shape(conv);
    const taps = steps.slice(steps.reshape(conv, [outChannels, tall, wide / per, per]), [
      { axis: 1, start: 0, end: kh },
      { axis: 2, start: 0, end: dw * (kw - 1) + 1, step: dw },
    ]);
    return steps.reshape(steps.transpose(taps, [0, 3, 1, 2]), weightShape(original));
  },
};

/** Any window of any rank: the batch and the channels change places, dY is the kernel. */
const swapped: ConvForm = {
  name: 'swapped',
  targets: ['cpu'],
  applies: () => true,
  cost: (g) => sizesOf(g).work,
  build(steps, g, x, dY) {
    const { batch, group, inChannels, outChannels } = g;
    const per = inChannels / group;
    const spatial = range(3, g.kernel.length);
    const data = steps.reshape(
      steps.transpose(steps.reshape(x, [batch, group, per, ...g.input]), [2, 1, 0, ...spatial]),
      [per, group * batch, ...g.input],
    );
    const kernel = steps.transpose(dY, [1, 0, ...spatial.map((axis) => axis - 1)]);
    const { begin, end, cut } = correlation(g);
    const conv = steps.conv(data, kernel, {
      kernel: g.output,
      strides: g.dilations,
      dilations: g.strides,
      begin,
      end,
      group,
    });
    const taps = cut(steps, conv, 2);
    return steps.reshape(steps.transpose(taps, [1, 0, ...spatial.map((axis) => axis - 1)]), [
      outChannels,
      per,
      ...g.kernel,
    ]);
  },
};

/** Results [M,C/g] of single taps → dW. */
function gather(steps: Steps, g: ConvGeometry, taps: readonly Value[]): Value {
  const per = g.inChannels / g.group;
  const parts = taps.map((tap) => steps.reshape(tap, [1, g.outChannels, per]));
  const [only] = parts;
  const all =
    parts.length === 1 && only
      ? only
      : steps.b.op('Concat', parts, { attributes: { axis: { kind: 'int', value: 0 } } });
  return steps.reshape(steps.transpose(all, [1, 2, 0]), weightShape(g));
}

/** Any window: per tap, one product per image of dY with the part of X the tap sees. */
const taps: ConvForm = {
  name: 'taps',
  targets: ['cpu', 'portable'],
  applies: () => true,
  cost: (g) => elementCount(g.kernel) * (sizesOf(g).y + 2 * perImage(g)) + sizesOf(g).work / 4,
  build(steps, g, x, dY) {
    const spatial = range(2, g.kernel.length);
    if (g.group !== 1) {
      const padded = steps.pad(x, g.begin, endReach(g));
      return gather(
        steps,
        g,
        tapOffsets(g).map((o) => imageProducts(steps, g, tapSlice(steps, g, padded, o), dY)),
      );
    }
    // With the channels last, a tap's slice is the right factor as it lies: one transpose for all taps.
    const plane = elementCount(g.output);
    const last = steps.transpose(x, [0, ...spatial, 1]);
    const padded = steps.pad(last, g.begin, endReach(g), 1);
    const left = steps.reshape(dY, [g.batch, g.outChannels, plane]);
    return gather(
      steps,
      g,
      tapOffsets(g).map((o) => {
        const seen = tapSlice(steps, g, padded, o, 1);
        return steps.sumFirst(
          steps.matmul(left, steps.reshape(seen, [g.batch, plane, g.inChannels])),
        );
      }),
    );
  },
};

/** The same with one product over all images: where the products of single images would take more memory. */
const tapsJoined: ConvForm = {
  name: 'taps-joined',
  targets: ['cpu', 'portable'],
  applies: (g) => g.group === 1,
  cost: (g) =>
    sizesOf(g).y +
    elementCount(g.kernel) * (sizesOf(g).y + perImage(g) / g.batch) +
    sizesOf(g).work / 4,
  build(steps, g, x, dY) {
    const spatial = range(2, g.kernel.length);
    const positions = g.batch * elementCount(g.output);
    const padded = steps.pad(steps.transpose(x, [0, ...spatial, 1]), g.begin, endReach(g), 1);
    const left = joined(steps, dY);
    return gather(
      steps,
      g,
      tapOffsets(g).map((o) => {
        const seen = tapSlice(steps, g, padded, o, 1);
        return steps.matmul(left, steps.reshape(seen, [positions, g.inChannels]));
      }),
    );
  },
};

/** One filter per channel without a convolution: per tap, multiply and add up. */
const perChannelTaps: ConvForm = {
  name: 'per-channel-taps',
  targets: ['portable'],
  applies: (g) => g.inChannels === g.group && g.outChannels === g.group,
  cost: (g) => sizesOf(g).work / 16,
  build(steps, g, x, dY) {
    const padded = steps.pad(x, g.begin, endReach(g));
    const axes = [0, ...range(2, g.kernel.length)];
    return gather(
      steps,
      g,
      tapOffsets(g).map((o) =>
        steps.sum(steps.b.op('Mul', [tapSlice(steps, g, padded, o), dY]), axes),
      ),
    );
  },
};

/** Forms of dW. */
export const WEIGHT_FORMS: readonly ConvForm[] = [
  pointwise,
  pointwiseJoined,
  perChannel,
  rows,
  swapped,
  taps,
  tapsJoined,
  perChannelTaps,
];
