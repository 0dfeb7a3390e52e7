// Operators of ONNX Runtime's blocked layout (domain com.microsoft.nchwc). In: X [N,C,H,W] whose elements lie as
// [N, C/B, H, W, B], the layout that its fastest kernels read whole vectors from; B is 8 or 16, as the CPU has it. Out:
// the same. Invariant: types name the plain shape [N,C,H,W]; only the order of the elements is another.

import { Attributes, NCHWC, Tensor, elementCount, int, isStatic } from '../ir/index.js';
import type { Attribute } from '../ir/index.js';
import { addBias, correlate } from './conv-kernels.js';
import { at, padsOf, reach, stridesOf, dilationsOf } from './conv-geometry.js';
import { defineOp } from './definition.js';
import type { InferContext, OpDefinition } from './definition.js';

/**
 * The block size as an attribute, for the reference interpreter alone: ONNX Runtime's kernels know their own, and refuse
 * attributes that they do not know, so it is never written (onnx/write-body.ts).
 */
const BLOCK = 'revnetify.block';

export const blockAttribute = (block: number): Readonly<Record<string, Attribute>> => ({
  [BLOCK]: int(block),
});

const blockOf = (attributes: Attributes): number => attributes.int(BLOCK, 1);

/** Element i of the blocked order is element from[i] of the plain one. */
function* places(
  [batch = 0, channels = 0, ...plane]: readonly number[],
  block: number,
): Generator<number> {
  const size = elementCount(plane);
  for (let first = 0; first < batch * channels; first += block)
    for (let p = 0; p < size; p++) for (let c = 0; c < block; c++) yield (first + c) * size + p;
}

/** Plain elements of blocked ones. @param dims [N,C,…], C a multiple of the block size */
export function unblock<T extends Float32Array | Float64Array>(
  data: T,
  dims: readonly number[],
  block: number,
): T {
  const out = data.slice() as T;
  let i = 0;
  for (const from of places(dims, block)) out[from] = data[i++] ?? NaN;
  return out;
}

function toBlocked(tensor: Tensor, block: number): Tensor {
  const out = new Float64Array(tensor.size);
  let i = 0;
  for (const from of places(tensor.dims, block)) out[i++] = tensor.data[from] ?? NaN;
  return new Tensor(tensor.dtype, tensor.dims, out);
}

const toPlain = (tensor: Tensor, block: number): Tensor =>
  new Tensor(tensor.dtype, tensor.dims, unblock(tensor.data, tensor.dims, block));

/** The plain weight [M,C,…] of one that lies as [M/B, C/B, …, B of C, B of M]; of a depthwise one as [M/B, …, B]. */
function plainWeight(w: Tensor, block: number): Tensor {
  const [filters = 0, channels = 0, ...kernel] = w.dims;
  const out = new Float64Array(w.size);
  const taps = elementCount(kernel);
  const per = channels === 1 ? 1 : block;
  let i = 0;
  for (let m = 0; m < filters; m += block)
    for (let c = 0; c < channels; c += per)
      for (let t = 0; t < taps; t++)
        for (let inner = 0; inner < per; inner++)
          for (let o = 0; o < block; o++, i++)
            out[((m + o) * channels + c + inner) * taps + t] = w.data[i] ?? NaN;
  return new Tensor(w.dtype, w.dims, out);
}

const same = (ctx: InferContext): ReturnType<OpDefinition['infer']> => [ctx.type(0)];

const reorderInput = defineOp({
  type: 'ReorderInput',
  domain: NCHWC,
  infer: same,
  evaluate: (ctx) => [toBlocked(ctx.input(0), blockOf(ctx.attributes))],
  keepsShape: true,
});

const reorderOutput = defineOp({
  type: 'ReorderOutput',
  domain: NCHWC,
  infer: same,
  evaluate: (ctx) => [toPlain(ctx.input(0), blockOf(ctx.attributes))],
  keepsShape: true,
});

/** [N,C,1,1], which lies in either layout alike. */
const globalAveragePool = defineOp({
  type: 'GlobalAveragePool',
  domain: NCHWC,
  infer(ctx) {
    const [batch = 0, channels = 0] = ctx.shape(0);
    return [{ dtype: ctx.type(0).dtype, shape: [batch, channels, 1, 1] }];
  },
  evaluate(ctx) {
    const x = toPlain(ctx.input(0), blockOf(ctx.attributes));
    const [batch = 0, channels = 0, ...plane] = x.dims;
    const size = elementCount(plane);
    const data = Float64Array.from({ length: batch * channels }, (_, i) =>
      x.data.subarray(i * size, (i + 1) * size).reduce((sum, v) => sum + v / size, 0),
    );
    return [new Tensor(x.dtype, [batch, channels, 1, 1], data)];
  },
});

/** Spatial extents of the result. */
function outputOf(
  attributes: Attributes,
  input: readonly number[],
  kernel: readonly number[],
): number[] {
  const { begin, end } = padsOf(attributes, kernel.length);
  const [strides, dilations] = [
    stridesOf(attributes, kernel.length),
    dilationsOf(attributes, kernel.length),
  ];
  return input.map((extent, i) => {
    const window = reach(at(kernel, i), at(dilations, i));
    return Math.floor((extent + at(begin, i) + at(end, i) - window) / at(strides, i)) + 1;
  });
}

/**
 * Conv(X, W, B?, Sum?; activation): activation(X ∗ W + B + Sum). W is laid out as plainWeight() reads it. The kernel also
 * takes a plain X of fewer channels than a block, which is no faster than ai.onnx's.
 */
const conv = defineOp({
  type: 'Conv',
  domain: NCHWC,
  infer(ctx) {
    const [batch = 0] = ctx.shape(0);
    const [filters = 0] = ctx.shape(1);
    const [input, kernel] = [ctx.shape(0).slice(2), ctx.attributes.ints('kernel_shape') ?? []];
    if (!isStatic(input)) return ctx.fail(`X has the shape [${ctx.shape(0).join(',')}]`);
    const shape = [batch, filters, ...outputOf(ctx.attributes, input, kernel)];
    return [{ dtype: ctx.type(0).dtype, shape }];
  },
  evaluate(ctx) {
    const { attributes } = ctx;
    const block = blockOf(attributes);
    const [x, w] = [toPlain(ctx.input(0), block), plainWeight(ctx.input(1), block)];
    const [batch = 0, inChannels = 0, ...input] = x.dims;
    const [outChannels = 0, , ...kernel] = w.dims;
    const output = outputOf(attributes, input, kernel);
    const data = correlate(
      {
        strides: stridesOf(attributes, kernel.length),
        dilations: dilationsOf(attributes, kernel.length),
        ...padsOf(attributes, kernel.length),
        ...{ batch, inChannels, outChannels, kernel, input, output },
        group: attributes.int('group', 1),
      },
      x.data,
      w.data,
    );
    const [bias, sum] = [ctx.inputs[2], ctx.inputs[3]];
    if (bias) addBias(data, bias.data, elementCount(output));
    const result = toBlocked(new Tensor(x.dtype, [batch, outChannels, ...output], data), block);
    const rectifies = attributes.string('activation', '') === 'Relu';
    result.data.forEach((v, i) => {
      const whole = v + (sum?.data[i] ?? 0);
      result.data[i] = rectifies ? Math.max(0, whole) : whole;
    });
    return [result];
  },
});

export const blockedOps: readonly OpDefinition[] = [
  reorderInput,
  reorderOutput,
  globalAveragePool,
  conv,
];
