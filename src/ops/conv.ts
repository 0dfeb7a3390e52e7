// Convolution and transposed convolution over any number of spatial axes. In: X [N,C,…], W, optional bias.
// Out: Y. Invariant: gradients are written with ConvGradInput and ConvGradWeight, whose pads are numbers.

import { Attributes, Tensor, elementCount, int, ints, isStatic, string } from '../ir/index.js';
import type { Attribute, Dim, Node, Shape, Value } from '../ir/index.js';
import { DiagnosticError } from '../diagnostics/index.js';
import { inAxis, outAxis } from './axes.js';
import { defineOp } from './definition.js';
import type { GradientContext, InferContext, OpDefinition, OpSample } from './definition.js';
import type { Builder } from './builder.js';
import { guardSmallest, reduceSum } from './broadcast.js';
import { CONV_CASES } from './conv-cases.js';
import { at, resolveConv, resolveConvTranspose } from './conv-geometry.js';
import type { ConvGeometry, ResolvedConv } from './conv-geometry.js';
import { gradAttributes } from './conv-gradient.js';
import { addBias, correlate, scatter } from './conv-kernels.js';
import type { Random } from './random.js';

type Resolve = typeof resolveConv;

/** Kernel extents: from the weight's type, else from the attribute. */
function kernelOf(ctx: InferContext): readonly number[] {
  const spatial = ctx.shape(1).slice(2);
  if (isStatic(spatial)) return spatial;
  const kernel = ctx.attributes.ints('kernel_shape');
  return kernel ?? ctx.staticShape(1).slice(2);
}

/** Checks ranks and returns the windows. */
function windows(ctx: InferContext, resolve: Resolve): ResolvedConv {
  const x = ctx.shape(0);
  const kernel = kernelOf(ctx);
  if (x.length < 3) ctx.fail(`X has rank ${x.length}, at least 3 is needed`);
  if (kernel.length !== x.length - 2)
    ctx.fail(`X has ${x.length - 2} spatial axes, the weight ${kernel.length}`);
  const declared = ctx.attributes.ints('kernel_shape');
  if (declared?.some((k, i) => k !== kernel[i]))
    ctx.fail(`kernel_shape is [${declared.join(',')}], the weight has [${kernel.join(',')}]`);
  const resolved = resolve(ctx.attributes, x.slice(2), kernel);
  for (const extent of resolved.output)
    if (typeof extent === 'number' && extent <= 0)
      ctx.fail(`the window does not fit into [${x.join(',')}]`);
  return resolved;
}

/** Result shape; channels = axis 1 of the result. */
function resultShape(ctx: InferContext, resolved: ResolvedConv, channels: Dim): Shape {
  return [at(ctx.shape(0), 0), channels, ...resolved.output.map((d) => d ?? ctx.fresh())];
}

const known = <T>(list: readonly (T | undefined)[]): readonly T[] =>
  list.map((_, i) => at(list, i)) as T[];

/** Geometry of the ordinary convolution between a large side x and a small side y. */
function geometry(
  resolved: ResolvedConv,
  group: number,
  x: readonly number[],
  w: readonly number[],
  y: readonly number[],
): ConvGeometry {
  return {
    strides: resolved.strides,
    dilations: resolved.dilations,
    begin: known(resolved.begin),
    end: known(resolved.end),
    batch: at(x, 0),
    group,
    inChannels: at(x, 1),
    outChannels: at(w, 0),
    kernel: w.slice(2),
    input: x.slice(2),
    output: y.slice(2),
  };
}

/** Shape of a value whose gradient needs every extent but the batch. */
function gradientShape(value: Value): readonly number[] {
  const [batch, ...rest] = value.shape ?? [];
  if (batch !== undefined && isStatic(rest))
    return [typeof batch === 'number' ? batch : 0, ...rest];
  throw new DiagnosticError(
    'shape/unknown',
    `value ${value.name}`,
    `the gradient of a convolution needs its shape, which is [${value.shape?.join(',') ?? '…'}]`,
  );
}

/** Gradient by the bias: the sum over every axis but the channels. */
function biasGradient(b: Builder, dY: Value): Value {
  const axes = (dY.shape ?? []).map((_, i) => i).filter((i) => i !== 1);
  return reduceSum(b, dY, axes, false);
}

/** Multiply-adds: the whole weight once per position of the small side; 0 while that is not known. */
const flopsOf = (ctx: InferContext, small: Shape | undefined): number => {
  const weight = ctx.shape(1);
  if (!isStatic(small) || !isStatic(weight)) return 0;
  return (2 * elementCount(weight) * elementCount(small)) / at(small, 1);
};

/** As many groups as the changed number of channels makes. */
function resizeGroups(node: Node): void {
  const [channels, perGroup] = [node.input(0).shape?.[1], node.input(1).shape?.[1]];
  if (node.attributes.int('group', 1) === 1) return;
  if (typeof channels !== 'number' || typeof perGroup !== 'number') return;
  node.attributes = node.attributes.with({ group: int(channels / perGroup) });
  node.source = undefined;
}

/** The bias has one number per channel of the result. */
function checkBias(ctx: InferContext, channels: Dim | undefined): void {
  if (!ctx.has(2)) return;
  const [extent, ...more] = ctx.shape(2);
  const differs = typeof extent === 'number' && typeof channels === 'number' && extent !== channels;
  if (extent === undefined || more.length > 0 || differs)
    ctx.fail(
      `the bias has shape [${ctx.shape(2).join(',')}], the result ${channels ?? '?'} channels`,
    );
}

/** Y[n,m,i] = Σ W[m,c,t] · X[n,c,s·i + d·t − p] + B[m], c within the group of m. */
const conv = defineOp({
  type: 'Conv',
  parameters: [1, 2],
  infer(ctx) {
    const [x, w] = [ctx.shape(0), ctx.shape(1)];
    const group = ctx.attributes.int('group', 1);
    const resolved = windows(ctx, resolveConv);
    const [channels, perGroup, filters] = [at(x, 1), at(w, 1), at(w, 0)];
    if (
      typeof channels === 'number' &&
      typeof perGroup === 'number' &&
      channels !== perGroup * group
    )
      ctx.fail(`X has ${channels} channels, the weight takes ${perGroup} x ${group}`);
    if (typeof filters === 'number' && filters % group !== 0)
      ctx.fail(`${filters} filters do not divide into ${group} groups`);
    checkBias(ctx, filters);
    return [{ dtype: ctx.type(0).dtype, shape: resultShape(ctx, resolved, filters) }];
  },
  evaluate(ctx) {
    const [x, w] = [ctx.input(0), ctx.input(1)];
    const resolved = resolveConv(ctx.attributes, x.dims.slice(2), w.dims.slice(2));
    const y = [at(x.dims, 0), at(w.dims, 0), ...(known(resolved.output) as number[])];
    const g = geometry(resolved, ctx.attributes.int('group', 1), x.dims, w.dims, y);
    const data = correlate(g, x.data, w.data);
    const bias = ctx.inputs[2];
    if (bias) addBias(data, bias.data, elementCount(g.output));
    return [new Tensor(x.dtype, y, data)];
  },
  gradient(ctx) {
    const [x, w] = [gradientShape(ctx.input(0)), gradientShape(ctx.input(1))];
    const group = ctx.attributes.int('group', 1);
    const resolved = resolveConv(ctx.attributes, x.slice(2), w.slice(2));
    const window = geometry(resolved, group, x, w, [0, 0]);
    const dY = ctx.grad();
    return [
      ctx.wants(0)
        ? ctx.b.op('revnetify.ConvGradInput', [ctx.input(1), dY], {
            attributes: gradAttributes('ConvGradInput', window, group, x),
            name: 'dX',
          })
        : undefined,
      ctx.wants(1)
        ? ctx.b.op('revnetify.ConvGradWeight', [ctx.input(0), dY], {
            attributes: gradAttributes('ConvGradWeight', window, group, w),
            name: 'dW',
          })
        : undefined,
      ctx.has(2) && ctx.wants(2) ? biasGradient(ctx.b, dY) : undefined,
    ];
  },
  axes(ctx) {
    const [filters, perGroup] = [at(ctx.shape(1), 0), at(ctx.shape(1), 1)];
    const group = ctx.attributes.int('group', 1);
    const batch = { axes: [inAxis(0, 0), outAxis(0)] };
    const results = [inAxis(1, 0), outAxis(1), ...(ctx.has(2) ? [inAxis(2, 0)] : [])];
    if (group === 1) return [batch, { axes: [inAxis(0, 1), inAxis(1, 1)] }, { axes: results }];
    // Groups come and go whole, each with its channels in and out.
    if (typeof perGroup !== 'number' || filters !== perGroup * group) return [batch];
    return [batch, { axes: [inAxis(0, 1), ...results], multiple: perGroup }];
  },
  resized: resizeGroups,
  initial: (index, dims) =>
    index === 1 ? { fanIn: elementCount(dims.slice(1)) } : index === 2 ? 'zeros' : undefined,
  flops: (ctx) => flopsOf(ctx, ctx.node.output().shape),
  guard: guardSmallest,
  samples: (random) => [...plainSamples(random), ...autoPadSamples(random)],
});

/** dX of the convolution with the same weight: Y[n,c,s·i + d·t − p] += W[m,c,t] · X[n,m,i], plus B[c]. */
const convTranspose = defineOp({
  type: 'ConvTranspose',
  parameters: [1, 2],
  infer(ctx) {
    const [x, w] = [ctx.shape(0), ctx.shape(1)];
    const group = ctx.attributes.int('group', 1);
    const resolved = windows(ctx, resolveConvTranspose);
    const [channels, filters, perGroup] = [at(x, 1), at(w, 0), at(w, 1)];
    if (typeof channels === 'number' && typeof filters === 'number' && channels !== filters)
      ctx.fail(`X has ${channels} channels, the weight takes ${filters}`);
    if (typeof filters === 'number' && filters % group !== 0)
      ctx.fail(`${filters} channels do not divide into ${group} groups`);
    const result =
      typeof perGroup === 'number' ? perGroup * group : group === 1 ? perGroup : ctx.fresh();
    checkBias(ctx, result);
    return [{ dtype: ctx.type(0).dtype, shape: resultShape(ctx, resolved, result) }];
  },
  evaluate(ctx) {
    const [x, w] = [ctx.input(0), ctx.input(1)];
    const group = ctx.attributes.int('group', 1);
    const resolved = resolveConvTranspose(ctx.attributes, x.dims.slice(2), w.dims.slice(2));
    const y = [at(x.dims, 0), at(w.dims, 1) * group, ...(known(resolved.output) as number[])];
    const g = geometry(resolved, group, y, w.dims, x.dims);
    const data = scatter(g, x.data, w.data);
    const bias = ctx.inputs[2];
    if (bias) addBias(data, bias.data, elementCount(g.input));
    return [new Tensor(x.dtype, y, data)];
  },
  gradient(ctx) {
    const [x, w] = [gradientShape(ctx.input(0)), gradientShape(ctx.input(1))];
    const group = ctx.attributes.int('group', 1);
    const resolved = resolveConvTranspose(ctx.attributes, x.slice(2), w.slice(2));
    const window = geometry(resolved, group, [0, 0], w, x);
    const dY = ctx.grad();
    return [
      ctx.wants(0) ? transposedDataGradient(ctx, window, group) : undefined,
      ctx.wants(1)
        ? ctx.b.op('revnetify.ConvGradWeight', [dY, ctx.input(0)], {
            attributes: gradAttributes('ConvGradWeight', window, group, w),
            name: 'dW',
          })
        : undefined,
      ctx.has(2) && ctx.wants(2) ? biasGradient(ctx.b, dY) : undefined,
    ];
  },
  axes(ctx) {
    const batch = { axes: [inAxis(0, 0), outAxis(0)] };
    const bias = ctx.has(2) ? [inAxis(2, 0)] : [];
    const group = ctx.attributes.int('group', 1);
    const [channels, perGroup] = [at(ctx.shape(1), 0), at(ctx.shape(1), 1)];
    const data = [inAxis(0, 1), inAxis(1, 0)];
    if (group === 1) return [batch, { axes: data }, { axes: [inAxis(1, 1), outAxis(1), ...bias] }];
    // As in Conv: whole groups, where as many channels go in as come out.
    if (typeof perGroup !== 'number' || channels !== perGroup * group) return [batch];
    return [batch, { axes: [...data, outAxis(1), ...bias], multiple: perGroup }];
  },
  resized: resizeGroups,
  initial: (index, dims) =>
    index === 1 ? { fanIn: elementCount(dims) / at(dims, 1) } : index === 2 ? 'zeros' : undefined,
  flops: (ctx) => flopsOf(ctx, ctx.shape(0)),
  guard: guardSmallest,
  samples: (random) => transposedSamples(random),
});

/** Gradient of ConvTranspose by its data: the convolution it is the transpose of. */
function transposedDataGradient(ctx: GradientContext, window: ConvGeometry, group: number): Value {
  return ctx.b.op('Conv', [ctx.grad(), ctx.input(1)], {
    attributes: {
      strides: ints(window.strides),
      dilations: ints(window.dilations),
      pads: ints([...window.begin, ...window.end]),
      group: int(group),
    },
    name: 'dX',
  });
}

const attributesOf = (entries: Record<string, Attribute | undefined>): Attributes =>
  new Attributes({}).with(entries);

function plainSamples(random: Random): OpSample[] {
  return CONV_CASES.map((c, index) => {
    const inputs = [random.tensor(c.x), random.tensor(c.w)];
    // Every other sample has a bias.
    if (index % 2 === 0) inputs.push(random.tensor([at(c.w, 0)]));
    return {
      label: c.label,
      inputs,
      attributes: attributesOf({
        kernel_shape: index % 3 === 0 ? ints(c.w.slice(2)) : undefined,
        group: c.group === undefined ? undefined : int(c.group),
        strides: c.strides && ints(c.strides),
        dilations: c.dilations && ints(c.dilations),
        pads: c.pads && ints(c.pads),
      }),
    };
  });
}

function autoPadSamples(random: Random): OpSample[] {
  const sample = (mode: string, x: number[], w: number[], strides?: number[]): OpSample => ({
    label: `auto_pad ${mode}, stride ${strides?.join('x') ?? 1}`,
    inputs: [random.tensor(x), random.tensor(w)],
    attributes: attributesOf({ auto_pad: string(mode), strides: strides && ints(strides) }),
  });
  return [
    sample('VALID', [1, 2, 5, 4], [2, 2, 3, 3], [2, 1]),
    sample('SAME_UPPER', [1, 2, 5, 4], [2, 2, 3, 2]),
    sample('SAME_LOWER', [1, 2, 5, 4], [2, 2, 3, 2]),
    sample('SAME_UPPER', [1, 2, 6, 5], [2, 2, 3, 4], [2, 2]),
    sample('SAME_LOWER', [1, 2, 6, 5], [2, 2, 3, 4], [2, 2]),
    sample('SAME_LOWER', [2, 2, 7], [2, 2, 2], [3]),
  ];
}

function transposedSamples(random: Random): OpSample[] {
  const sample = (
    label: string,
    x: number[],
    w: number[],
    entries: Record<string, Attribute>,
    bias = 0,
  ): OpSample => ({
    label,
    inputs: [random.tensor(x), random.tensor(w), ...(bias > 0 ? [random.tensor([bias])] : [])],
    attributes: attributesOf(entries),
  });
  return [
    sample('2x2 stride 2', [2, 3, 3, 4], [3, 2, 2, 2], { strides: ints([2, 2]) }, 2),
    sample('3x3 with pads', [1, 3, 4, 5], [3, 2, 3, 3], { pads: ints([1, 1, 1, 1]) }),
    sample(
      '3x3 stride 2, output_padding',
      [1, 2, 3, 4],
      [2, 3, 3, 3],
      {
        strides: ints([2, 2]),
        pads: ints([1, 1, 1, 1]),
        output_padding: ints([1, 1]),
      },
      3,
    ),
    sample('group 2, asymmetric pads', [2, 4, 3, 3], [4, 2, 3, 2], {
      group: int(2),
      strides: ints([2, 1]),
      pads: ints([1, 0, 0, 1]),
    }),
    sample(
      'depthwise, stride 2',
      [2, 3, 3, 2],
      [3, 1, 2, 2],
      { group: int(3), strides: ints([2, 2]) },
      3,
    ),
    sample('dilation 2', [1, 2, 4, 4], [2, 2, 3, 3], {
      dilations: ints([2, 2]),
      pads: ints([1, 2, 1, 2]),
    }),
    sample('output_shape', [1, 2, 3, 3], [2, 2, 3, 3], {
      strides: ints([2, 2]),
      output_shape: ints([6, 6]),
    }),
    sample('auto_pad SAME_UPPER', [1, 2, 3, 3], [2, 2, 4, 3], {
      strides: ints([2, 2]),
      auto_pad: string('SAME_UPPER'),
    }),
    sample('auto_pad SAME_LOWER', [1, 2, 3, 3], [2, 2, 4, 3], {
      strides: ints([2, 2]),
      auto_pad: string('SAME_LOWER'),
    }),
    sample('1-D', [2, 3, 4], [3, 2, 3], { strides: ints([2]) }),
  ];
}

export const convOps: readonly OpDefinition[] = [conv, convTranspose];
