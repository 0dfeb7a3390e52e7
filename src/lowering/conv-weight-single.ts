// The forms of dW that are one convolution of X with dY as its kernel. In: X [N,C,…], dY [N,M,…]. Out: dW
// [M,C/g,k…]. Invariant: no temporary is larger than X or dY; strides and dilations change places, since
// the window of dY slides by dilations over positions that are strides apart.

import { elementCount } from '../ir/index.js';
import type { Value } from '../ir/index.js';
import { at } from '../ops/conv-geometry.js';
import type { ConvGeometry } from '../ops/conv-geometry.js';
import { endReach, range, weightShape } from './conv-form.js';
import type { ConvForm, Steps } from './conv-form.js';
import { convolutions, sizesOf } from './conv-terms.js';

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

/** Positions of that convolution along each axis, by `steps`: the taps of the weight, and what is dropped. */
const positions = (g: ConvGeometry, steps: readonly number[] = g.dilations): number[] =>
  endReach(g).map((reach, i) => {
    const last = at(g.dilations, i) * (at(g.kernel, i) - 1) + Math.max(0, -reach);
    return Math.floor(last / at(steps, i)) + 1;
  });

/** One filter per channel: X and dY as one image each whose channels are (n, c); neither is copied. */
export const perChannel: ConvForm = {
  name: 'per-channel',
  applies: (g) => g.inChannels === g.group,
  terms(g) {
    const found = positions(g);
    const columns = elementCount(found);
    const size = [g.outChannels / g.group, elementCount(g.output), columns] as const;
    return {
      ...convolutions(g.batch * g.group, size, at(found, found.length - 1)),
      summed: g.batch * g.outChannels * columns,
      kernels: 3,
    };
  },
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
export const rows: ConvForm = {
  name: 'rows',
  applies: (g) => g.kernel.length <= 2,
  terms(g) {
    const { x, y } = sizesOf(g);
    const per = g.inChannels / g.group;
    const found = positions(g, [...g.dilations.slice(0, -1), 1]);
    const size = [
      g.outChannels / g.group,
      g.batch * elementCount(g.output),
      elementCount(found) * per,
    ] as const;
    const results = g.outChannels * size[2];
    return {
      ...convolutions(g.group, size, at(found, found.length - 1) * per),
      // Where two axes move at once, the Transpose has no fast path.
      turned: results + (g.group === 1 ? x : 0),
      picked: g.group === 1 ? 0 : x,
      moved: y,
      kernels: 5,
    };
  },
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
    const rowsOfX =
      group === 1 && g === original
        ? steps.transpose(x, [0, 2, 3, 1])
        : steps.transpose(steps.reshape(x, [batch, group, per, height, width]), [1, 0, 3, 4, 2]);
    const data = steps.reshape(rowsOfX, [1, group * batch, height, width * per]);
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
export const swapped: ConvForm = {
  name: 'swapped',
  applies: () => true,
  terms(g) {
    const { x, y, w } = sizesOf(g);
    const found = positions(g);
    const size = [
      g.outChannels / g.group,
      g.batch * elementCount(g.output),
      elementCount(found),
    ] as const;
    return {
      ...convolutions(g.inChannels, size, at(found, found.length - 1)),
      moved: x + y + w,
      kernels: 5,
    };
  },
  build(steps, g, x, dY) {
    const { batch, group, inChannels } = g;
    const per = inChannels / group;
    const spatial = range(3, g.kernel.length);
    const swap = [1, 0, ...spatial.map((axis) => axis - 1)];
    const data =
      group === 1
        ? steps.transpose(x, swap)
        : steps.reshape(
            steps.transpose(steps.reshape(x, [batch, group, per, ...g.input]), [
              2,
              1,
              0,
              ...spatial,
            ]),
            [per, group * batch, ...g.input],
          );
    const kernel = steps.transpose(dY, swap);
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
    return steps.transpose(taps, swap);
  },
};
