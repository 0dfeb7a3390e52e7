// Forms of dW, the gradient of a convolution by its weight: dW[m,c,t] = Σ over images and positions of
// X[n,c,s·i + d·t − p] · dY[n,m,i]. In: X [N,C,…], dY [N,M,…]. Out: dW [M,C/g,k…]. Invariant: no temporary
// is larger than a few copies of X, of dY or of the per-image products.

import { elementCount } from '../ir/index.js';
import type { Value } from '../ir/index.js';
import { at } from '../ops/conv-geometry.js';
import type { ConvGeometry } from '../ops/conv-geometry.js';
import { endReach, isPointwise, range, weightShape } from './conv-form.js';
import type { ConvForm, Steps } from './conv-form.js';
import { MOVE, narrowWork, products, sizesOf } from './conv-terms.js';
import type { Terms } from './conv-terms.js';
import { perChannel, rows, swapped } from './conv-weight-single.js';

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

/** Elements that a Slice leaves gaps between. */
const picked = (g: ConvGeometry): number => (g.strides.some((s) => s > 1) ? sizesOf(g).seen : 0);

/** 1x1: one product per image, added up. */
const pointwise: ConvForm = {
  name: 'pointwise',
  applies: isPointwise,
  // ONNX Runtime fuses the Transpose into the product.
  terms: (g) => ({
    ...products(g.batch * g.group, [
      g.outChannels / g.group,
      elementCount(g.output),
      g.inChannels / g.group,
    ]),
    picked: picked(g),
    summed: sizesOf(g).perImage,
    kernels: 3,
  }),
  estimate(g) {
    const { seen, perImage, work } = sizesOf(g);
    return work + MOVE * (seen + 2 * perImage);
  },
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
  applies: (g) => isPointwise(g) && g.group === 1,
  terms(g) {
    const { seen, y } = sizesOf(g);
    return {
      ...products(1, [g.outChannels, g.batch * elementCount(g.output), g.inChannels]),
      moved: seen + y,
      picked: picked(g),
      kernels: 3,
    };
  },
  estimate(g) {
    const { seen, y, work } = sizesOf(g);
    return work + MOVE * (seen + y);
  },
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

/** What the Slices of all taps copy: with the channels last, runs of them; else rows, or elements that lie apart. */
function slices(g: ConvGeometry, isLast: boolean): Terms {
  const all = sizesOf(g).seen * elementCount(g.kernel);
  const apart = g.strides.at(-1) !== 1;
  if (isLast)
    return {
      moved: all,
      cut: 0,
      picked: 0,
      runs: all / (g.inChannels * (apart ? 1 : (g.output.at(-1) ?? 1))),
    };
  return { moved: 0, cut: apart ? 0 : all, picked: apart ? all : 0, runs: 0 };
}

/** Elements that the last Transpose brings together from all taps. */
const gathered = (g: ConvGeometry): number => (g.kernel.some((k) => k > 1) ? sizesOf(g).w : 0);

/** Any window: per tap, one product per image of dY with the part of X the tap sees. */
const taps: ConvForm = {
  name: 'taps',
  // A 1x1 has its own: with a stride they cut X first, and copy what is left.
  applies: (g) => !isPointwise(g),
  terms(g) {
    const { x, perImage } = sizesOf(g);
    const count = elementCount(g.kernel);
    const size = [g.outChannels / g.group, elementCount(g.output), g.inChannels / g.group] as const;
    const sliced = slices(g, g.group === 1);
    return {
      ...products(count * g.batch * g.group, size),
      ...sliced,
      moved: x + (sliced.moved ?? 0),
      picked: gathered(g) + (sliced.picked ?? 0),
      // With groups, Transposes are fused into the products.
      turned: g.group === 1 ? x : 0,
      summed: count * perImage,
      kernels: 3 * count + 3,
    };
  },
  estimate(g) {
    const { x, seen, perImage, work } = sizesOf(g);
    // Groups transpose what each tap sees as well.
    const moved = (g.group === 1 ? 1 : 2) * seen + 2 * perImage;
    return narrowWork(work, g.inChannels / g.group) + MOVE * (x + elementCount(g.kernel) * moved);
  },
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
  applies: (g) => g.group === 1 && !isPointwise(g),
  terms(g) {
    const { x, y } = sizesOf(g);
    const count = elementCount(g.kernel);
    const sliced = slices(g, true);
    return {
      ...products(count, [g.outChannels, g.batch * elementCount(g.output), g.inChannels]),
      ...sliced,
      moved: x + y + (sliced.moved ?? 0),
      picked: gathered(g),
      turned: x,
      kernels: 2 * count + 4,
    };
  },
  estimate(g) {
    const { x, seen, y, work } = sizesOf(g);
    return narrowWork(work, g.inChannels) + MOVE * (x + y + elementCount(g.kernel) * seen);
  },
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
  applies: (g) => g.inChannels === g.group && g.outChannels === g.group,
  estimate(g) {
    const { x, seen } = sizesOf(g);
    return MOVE * (x + 2 * elementCount(g.kernel) * seen);
  },
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
