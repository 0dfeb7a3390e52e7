// The two gradients of a convolution as abstract steps of our own domain: src/lowering/conv.ts turns them
// into ai.onnx nodes per target. In: weights or data, and dY. Out: dX or dW. Invariant: pads are resolved
// numbers (no auto_pad), and the shape of the result is an attribute, since strides lose it.

import { Attributes, Tensor, elementCount, ints, isStatic } from '../ir/index.js';
import type { Attribute, Shape } from '../ir/index.js';
import { REVNETIFY, defineOp } from './definition.js';
import type { OpDefinition } from './definition.js';
import { padsOf, stridesOf, dilationsOf } from './conv-geometry.js';
import type { ConvGeometry, Window } from './conv-geometry.js';
import { CONV_CASES, caseGeometry } from './conv-cases.js';
import { pair, scatter } from './conv-kernels.js';
import type { Random } from './random.js';

const SHAPE = { ConvGradInput: 'input_shape', ConvGradWeight: 'weight_shape' } as const;

/** Attributes of ConvGradInput and ConvGradWeight; `shape` is that of the result. */
export function gradAttributes(
  type: keyof typeof SHAPE,
  window: Window,
  group: number,
  shape: readonly number[],
): Attributes {
  const entries: Record<string, Attribute> = {
    strides: ints(window.strides),
    pads: ints([...window.begin, ...window.end]),
    dilations: ints(window.dilations),
    group: { kind: 'int', value: group },
    [SHAPE[type]]: ints(shape),
  };
  return new Attributes(entries);
}

/** The convolution that a gradient step belongs to, from its attributes and the shapes around it. */
export function gradGeometry(
  attributes: Attributes,
  x: readonly number[],
  w: readonly number[],
  y: readonly number[],
): ConvGeometry {
  const rank = x.length - 2;
  const [batch = 0, inChannels = 0, ...input] = x;
  return {
    strides: stridesOf(attributes, rank),
    dilations: dilationsOf(attributes, rank),
    ...padsOf(attributes, rank),
    batch,
    group: attributes.int('group', 1),
    inChannels,
    outChannels: w[0] ?? 0,
    kernel: w.slice(2),
    input,
    output: y.slice(2),
  };
}

const required = (attributes: Attributes, name: string): readonly number[] => {
  const value = attributes.ints(name);
  if (!value) throw new Error(`internal error: a convolution gradient without ${name}`);
  return value;
};

/** Multiply-adds: the whole weight once per position of dY; 0 while that is not known. */
const flopsOf = (weight: Shape, dY: Shape): number =>
  isStatic(weight) && isStatic(dY)
    ? (2 * elementCount(weight) * elementCount(dY)) / (dY[1] ?? 1)
    : 0;

/** dX [N,C,…] from W [M,C/g,k…] and dY [N,M,…]. The batch is that of dY; input_shape[0] is not read. */
const convGradInput = defineOp({
  type: 'ConvGradInput',
  domain: REVNETIFY,
  infer(ctx) {
    const [, ...rest] = required(ctx.attributes, 'input_shape');
    const dY = ctx.shape(1);
    if (dY.length !== rest.length + 1) ctx.fail(`dY has rank ${dY.length}`);
    return [{ dtype: ctx.type(1).dtype, shape: [dY[0] ?? ctx.fresh(), ...rest] }];
  },
  evaluate(ctx) {
    const [w, dY] = [ctx.input(0), ctx.input(1)];
    const [, ...rest] = required(ctx.attributes, 'input_shape');
    const x = [dY.dims[0] ?? 0, ...rest];
    const g = gradGeometry(ctx.attributes, x, w.dims, dY.dims);
    return [new Tensor(dY.dtype, x, scatter(g, dY.data, w.data))];
  },
  flops: (ctx) => flopsOf(ctx.shape(0), ctx.shape(1)),
});

/** dW [M,C/g,k…] from X [N,C,…] and dY [N,M,…]. */
const convGradWeight = defineOp({
  type: 'ConvGradWeight',
  domain: REVNETIFY,
  infer(ctx) {
    const shape = required(ctx.attributes, 'weight_shape');
    if (ctx.shape(0).length !== shape.length) ctx.fail(`X has rank ${ctx.shape(0).length}`);
    return [{ dtype: ctx.type(0).dtype, shape }];
  },
  evaluate(ctx) {
    const [x, dY] = [ctx.input(0), ctx.input(1)];
    const w = required(ctx.attributes, 'weight_shape');
    const g = gradGeometry(ctx.attributes, x.dims, w, dY.dims);
    return [new Tensor(x.dtype, w, pair(g, x.data, dY.data))];
  },
  flops: (ctx) => flopsOf(required(ctx.attributes, 'weight_shape'), ctx.shape(1)),
});

const samplesOf = (
  type: keyof typeof SHAPE,
  random: Random,
): ReturnType<NonNullable<OpDefinition['samples']>> =>
  CONV_CASES.map((c) => {
    const g = caseGeometry(c);
    const dY = random.tensor([g.batch, g.outChannels, ...g.output]);
    return {
      label: c.label,
      inputs: type === 'ConvGradInput' ? [random.tensor(c.w), dY] : [random.tensor(c.x), dY],
      attributes: gradAttributes(type, g, g.group, type === 'ConvGradInput' ? c.x : c.w),
      differentiable: [],
    };
  });

export const convGradientOps: readonly OpDefinition[] = [
  { ...convGradInput, samples: (random) => samplesOf('ConvGradInput', random) },
  { ...convGradWeight, samples: (random) => samplesOf('ConvGradWeight', random) },
];
