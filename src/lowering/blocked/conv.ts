// Convolutions and their gradients in the blocked layout. In: X, W, dY. Out: Y, dX, dW. Invariant: weights are graph inputs
// in the plain layout, and so are their gradients; they are laid out anew in every step.
//
// Transpositions here move runs of a block, or are Reorder kernels: ONNX Runtime's Transpose moves single elements ten
// times slower (512 to 512 channels, 3x3: 30 ms, as long as the convolution).

import { elementCount } from '../../ir/index.js';
import type { Node, Value } from '../../ir/index.js';
import { resolveConv } from '../../ops/index.js';
import { at } from '../../ops/conv-geometry.js';
import type { ConvGeometry } from '../../ops/conv-geometry.js';
import { gradGeometry } from '../../ops/conv-gradient.js';
import { endReach, isPointwise } from '../conv-form.js';
import { dimsOf, isMultiple } from './definition.js';
import type { BlockedContext, BlockedLowering } from './definition.js';
import type { BlockedSteps } from './steps.js';

const geometries = new WeakMap<Node, ConvGeometry>();

/** The convolution that a Conv, ConvGradInput or ConvGradWeight belongs to. */
function geometryOf(node: Node): ConvGeometry {
  const known = geometries.get(node);
  if (known) return known;
  const [first, second, result] = [node.input(0), node.input(1), node.output()].map(dimsOf) as [
    readonly number[],
    readonly number[],
    readonly number[],
  ];
  const made =
    node.op === 'Conv'
      ? forwardGeometry(node, first, second, result)
      : node.op === 'ConvGradInput'
        ? gradGeometry(node.attributes, result, first, second)
        : gradGeometry(node.attributes, first, result, second);
  geometries.set(node, made);
  return made;
}

function forwardGeometry(
  node: Node,
  x: readonly number[],
  w: readonly number[],
  y: readonly number[],
): ConvGeometry {
  const { strides, dilations, begin, end } = resolveConv(node.attributes, x.slice(2), w.slice(2));
  return {
    ...{ strides, dilations, begin: begin.map(Number), end: end.map(Number) },
    batch: at(x, 0),
    group: node.attributes.int('group', 1),
    inChannels: at(x, 1),
    outChannels: at(w, 0),
    kernel: w.slice(2),
    input: x.slice(2),
    output: y.slice(2),
  };
}

const isDepthwise = (g: ConvGeometry): boolean =>
  g.group > 1 && g.group === g.inChannels && g.group === g.outChannels;

/** [M, 1, k…] as a depthwise kernel reads it. */
const depthwiseWeight = (
  ctx: BlockedContext,
  index: number,
  { outChannels, kernel }: ConvGeometry,
): Value =>
  ctx.s.reshape(ctx.weight(index, [1, outChannels, elementCount(kernel), 1]), [
    outChannels,
    1,
    ...kernel,
  ]);

/** [M, C, k…] → [M/B, C/B, k…, B of C, B of M]. */
function forwardWeight(ctx: BlockedContext, index: number, g: ConvGeometry): Value {
  const { s } = ctx;
  const { block } = s;
  const { inChannels, outChannels, kernel } = g;
  const taps = elementCount(kernel);
  const rows = ctx.weight(index, [1, outChannels, inChannels * taps, 1]);
  const split = s.reshape(rows, [outChannels / block, inChannels / block, block, taps, block]);
  return s.reshape(s.transpose(split, [0, 1, 3, 2, 4]), [outChannels, inChannels, ...kernel]);
}

/**
 * [M, C, k…] → [C/B, M/B, k… reversed, B of M, B of C]. No tensor on the way has a shape that one in forwardWeight() has: ONNX
 * Runtime would keep the memory of that one for it.
 */
function backwardWeight(ctx: BlockedContext, index: number, g: ConvGeometry): Value {
  const { s } = ctx;
  const { block } = s;
  const { inChannels, outChannels, kernel } = g;
  const taps = elementCount(kernel);
  const rows = ctx.weight(index, [outChannels, inChannels, taps, 1]);
  const split = s.reshape(rows, [1, outChannels / block, block, inChannels / block, taps, block]);
  const turned = s.flip(s.transpose(split, [0, 3, 1, 4, 2, 5]), [3]);
  return s.reshape(turned, [inChannels, outChannels, ...kernel]);
}

const conv: BlockedLowering = {
  type: 'Conv',
  maps: 2,
  domain: '',
  applies(node, block) {
    const g = geometryOf(node);
    if (isDepthwise(g)) return isMultiple(g.group, block);
    return g.group === 1 && [g.inChannels, g.outChannels].every((c) => isMultiple(c, block));
  },
  build(ctx) {
    const g = geometryOf(ctx.node);
    const bias = ctx.has(2) ? { bias: ctx.input(2) } : {};
    const w = isDepthwise(g) ? depthwiseWeight(ctx, 1, g) : forwardWeight(ctx, 1, g);
    return [ctx.s.blockedConv(ctx.blocked(0), w, g, bias)];
  },
};

/** Pads of the convolution that undoes one of stride 1. */
const flippedPads = (g: ConvGeometry, pads: readonly number[]): number[] =>
  pads.map((p, i) => at(g.dilations, i) * (at(g.kernel, i) - 1) - p);

/** Stride 1, and pads no larger than the window. */
const isFlippable = (g: ConvGeometry): boolean =>
  g.strides.every((stride) => stride === 1) &&
  [...flippedPads(g, g.begin), ...flippedPads(g, g.end)].every((p) => p >= 0);

/** Zeros after every place but the last of each stride, up to the extents of X. */
function spread(s: BlockedSteps, dY: Value, g: ConvGeometry): Value {
  const { block } = s;
  const { batch, inChannels, input, output, strides } = g;
  const [height = 1, width = 1] = output;
  const [rowStride = 1, columnStride = 1] = strides;
  const outer = (batch * inChannels) / block;
  const padded = s.pad(
    s.reshape(dY, [outer, height, 1, width, block]),
    [],
    [rowStride - 1, 0, (columnStride - 1) * block],
  );
  const whole = s.reshape(padded, [outer, height * rowStride, width * columnStride, block]);
  const cut = s.slice(
    whole,
    input.map((extent, i) => ({ axis: i + 1, start: 0, end: extent })),
  );
  return s.reshape(cut, [batch, inChannels, ...input]);
}

/** Whether 1x1 filters look at every place that a stride comes to within X. */
const isSpread = (g: ConvGeometry): boolean =>
  isPointwise(g) && g.output.every((extent, i) => extent * at(g.strides, i) >= at(g.input, i));

const convGradInput: BlockedLowering = {
  type: 'ConvGradInput',
  maps: 2,
  applies(node, block) {
    const g = geometryOf(node);
    return (
      g.group === 1 &&
      [g.outChannels, g.inChannels].every((count) => isMultiple(count, block)) &&
      (isFlippable(g) || isSpread(g))
    );
  },
  build(ctx) {
    const g = geometryOf(ctx.node);
    const isWhole = isFlippable(g);
    const dX = ctx.s.blockedConv(ctx.blocked(1), backwardWeight(ctx, 0, g), {
      kernel: g.kernel,
      dilations: g.dilations,
      begin: isWhole ? flippedPads(g, g.begin) : [0, 0],
      end: isWhole ? flippedPads(g, g.end) : [0, 0],
      group: 1,
    });
    return [isWhole ? dX : spread(ctx.s, dX, g)];
  },
};

/** X blocked → blocked by images: elements [N/B, C/B, H·W, B of C, B of N]. */
const byImages = (s: BlockedSteps, x: Value): Value => {
  const [batch = 0, ...rest] = dimsOf(x);
  return s.toBlocked(s.reshape(x, [1, batch, elementCount(rest), 1]));
};

/**
 * X → [C/B, N, H', W'·B] blocked by images: one "image" for each block of channels, whose columns are those of X with a
 * channel of the block each, and whose channels are the images. Padded for the kernel, whose own pads would be slow.
 */
function windowData(s: BlockedSteps, x: Value, g: ConvGeometry): Value {
  const { block } = s;
  const { batch, inChannels, input, begin } = g;
  const outer = inChannels / block;
  const places = elementCount(input);
  const split = s.reshape(byImages(s, x), [batch / block, outer, places, block * block]);
  const turned = s.transpose(split, [1, 0, 2, 3]);
  const image = s.reshape(turned, [outer, batch / block, ...input, block * block]);
  const end = endReach(g);
  const cut = s.slice(
    image,
    end.map((reach, i) => ({ axis: i + 2, start: 0, end: at(input, i) + Math.min(0, reach) })),
  );
  const padded = s.pad(cut, begin, end);
  const [height = 0, width = 0] = s.shape(padded).slice(2);
  return s.reshape(padded, [outer, batch, height, width * block]);
}

/** dY blocked → [M, N, H, W] as the weight of a convolution over the images. */
function weightByImages(s: BlockedSteps, dY: Value, kernel: readonly number[]): Value {
  const { block } = s;
  const [batch = 0, outChannels = 0] = dimsOf(dY);
  const places = elementCount(kernel);
  const split = s.reshape(dY, [batch / block, block, outChannels / block, places, block]);
  return s.reshape(s.transpose(split, [2, 0, 3, 1, 4]), [outChannels, batch, ...kernel]);
}

const NO_PADS = { begin: [0, 0], end: [0, 0], group: 1 };

/** dW [M, C, k…] as one convolution of X with dY for its weight: images are the channels, taps the places of the result. */
function windowProducts(s: BlockedSteps, x: Value, dY: Value, g: ConvGeometry): Value {
  const { block } = s;
  const { inChannels, outChannels, kernel, strides, output } = g;
  const [rowStride = 1, columnStride = 1] = strides;
  const taps = elementCount(kernel);
  const products = s.blockedConv(windowData(s, x, g), weightByImages(s, dY, output), {
    ...NO_PADS,
    kernel: output,
    dilations: [rowStride, columnStride * block],
  });
  const split = s.reshape(products, [inChannels / block, outChannels / block, taps, block, block]);
  const rows = s.transpose(split, [1, 0, 3, 2, 4]);
  return s.toPlain(s.reshape(rows, [1, outChannels, 1, inChannels * taps]));
}

/**
 * The same for 1x1 filters: the blocks of channels are the rows of one image, and nothing is padded. What has fewer channels
 * is the weight, which takes longer to lay out.
 */
function pointProducts(s: BlockedSteps, x: Value, dY: Value, g: ConvGeometry): Value {
  const { block } = s;
  const { batch, inChannels, outChannels, input, output, strides } = g;
  const split = s.reshape(x, [batch, inChannels / block, ...input, block]);
  const ranges = strides.map((step, i) => ({ axis: i + 2, start: 0, end: at(input, i), step }));
  const seen = s.reshape(s.slice(split, ranges), [batch, inChannels, ...output]);
  const places = elementCount(output);
  const multiply = (data: Value, weight: Value, channels: number): Value =>
    s.blockedConv(
      s.reshape(byImages(s, data), [1, batch, channels / block, places * block]),
      weightByImages(s, weight, [1, places]),
      { ...NO_PADS, kernel: [1, places], dilations: [1, block] },
    );
  if (outChannels <= inChannels) {
    const products = multiply(seen, dY, inChannels);
    return s.toPlain(s.reshape(products, [1, outChannels, 1, inChannels]));
  }
  const turned = s.reshape(multiply(dY, seen, outChannels), [
    inChannels / block,
    outChannels,
    block,
  ]);
  return s.transpose(turned, [1, 0, 2]);
}

const convGradWeight: BlockedLowering = {
  type: 'ConvGradWeight',
  maps: 2,
  isPlain: true,
  applies(node, block) {
    const g = geometryOf(node);
    return (
      g.group === 1 &&
      [g.batch, g.inChannels, g.outChannels].every((count) => isMultiple(count, block)) &&
      g.dilations.every((dilation) => dilation === 1) &&
      // Not where windows lie in the pads alone.
      endReach(g).every((reach, i) => reach + at(g.input, i) >= 0)
    );
  },
  build(ctx) {
    const g = geometryOf(ctx.node);
    const products = isPointwise(g) ? pointProducts : windowProducts;
    const dW = products(ctx.s, ctx.blocked(0), ctx.blocked(1), g);
    return [ctx.s.reshape(dW, [g.outChannels, g.inChannels, ...g.kernel])];
  },
};

export const blockedConvs: readonly BlockedLowering[] = [conv, convGradInput, convGradWeight];
