// Shapes as data, conversions, and what passes its operand on: Shape, Size, Cast, Identity, Dropout, ArgMax. Invariant: extents that become data here keep their symbols through `propagate`, so that
// an exporter's Shape→Gather→Concat→Reshape chain gives back the batch symbol.

import { DiagnosticError } from '../diagnostics/index.js';
import { Attributes, Tensor, elementCount, int, isFloat } from '../ir/index.js';
import type { DataType, Dim, Value } from '../ir/index.js';
import { sameAxes } from './axes.js';
import { normalizeAxis } from './broadcast.js';
import { impossible, mapElements } from './elements.js';
import { noGradient } from './gradient-parts.js';
import { defineOp } from './definition.js';
import type { GradientContext, InferContext, OpDefinition } from './definition.js';
import { multiplyDims } from './dims.js';
import { elementCode, elementType } from './element-types.js';

const passOn = (ctx: InferContext): readonly Dim[] | undefined => ctx.content(0);

// ---- Shape and Size

function shapePart<T>(dims: readonly T[], attributes: Attributes): T[] {
  return dims.slice(attributes.int('start', 0), attributes.int('end'));
}

const shapeOp = defineOp({
  type: 'Shape',
  infer: (ctx) => {
    const { shape } = ctx.type(0);
    return [
      { dtype: 'int64', shape: [shape ? shapePart(shape, ctx.attributes).length : ctx.fresh()] },
    ];
  },
  propagate: (ctx) => {
    const { shape } = ctx.type(0);
    return shape && shapePart(shape, ctx.attributes);
  },
  evaluate: (ctx) => [Tensor.ints(shapePart(ctx.input(0).dims, ctx.attributes))],
  nonDifferentiable: true,
  samples: (random) => [
    { label: 'all', inputs: [random.tensor([2, 3, 4])] },
    {
      label: 'part',
      inputs: [random.tensor([2, 3, 4, 5])],
      attributes: new Attributes({ start: int(-3), end: int(-1) }),
    },
  ],
});

const size = defineOp({
  type: 'Size',
  infer: () => [{ dtype: 'int64', shape: [] }],
  propagate: (ctx) => {
    const { shape } = ctx.type(0);
    return shape && [multiplyDims(shape)];
  },
  evaluate: (ctx) => [Tensor.scalar(ctx.input(0).size, 'int64')],
  nonDifferentiable: true,
  samples: (random) => [{ label: 'plain', inputs: [random.tensor([2, 3, 4])] }],
});

// ---- Cast

/** One element under another type. Float types are not rounded: the reference computes in float64. */
function converter(to: DataType): (x: number) => number {
  switch (to) {
    case 'bool':
      return (x) => (x === 0 ? 0 : 1);
    case 'int8':
      return (x) => (Math.trunc(x) << 24) >> 24;
    case 'int16':
      return (x) => (Math.trunc(x) << 16) >> 16;
    case 'int32':
      return (x) => Math.trunc(x) | 0;
    case 'uint8':
      return (x) => Math.trunc(x) & 0xff;
    case 'uint16':
      return (x) => Math.trunc(x) & 0xffff;
    case 'uint32':
      return (x) => Math.trunc(x) >>> 0;
    case 'int64':
    case 'uint64':
      return (x) => Math.trunc(x) + 0;
    default:
      return (x) => x;
  }
}

const castTo = (b: GradientContext['b'], value: Value, dtype: DataType): Value =>
  b.op('Cast', [value], { attributes: { to: int(elementCode(dtype)) } });

const cast = defineOp({
  type: 'Cast',
  axes: (ctx) => sameAxes(ctx),
  infer: (ctx) => [{ dtype: elementType(ctx.attributes.int('to', 1)), shape: ctx.type(0).shape }],
  // An extent is a whole number under every type but bool.
  propagate: (ctx) =>
    elementType(ctx.attributes.int('to', 1)) === 'bool' ? undefined : ctx.content(0),
  evaluate: (ctx) => {
    const to = elementType(ctx.attributes.int('to', 1));
    return [mapElements(ctx.input(0), converter(to), to)];
  },
  gradient: (ctx) => {
    const from = ctx.input(0).type?.dtype;
    const to = elementType(ctx.attributes.int('to', 1));
    if (!ctx.wants(0) || from === undefined || !isFloat(from) || !isFloat(to)) return [undefined];
    return [castTo(ctx.b, ctx.grad(), from)];
  },
  samples: (random) => [
    {
      label: 'to float64',
      inputs: [random.tensor([2, 3])],
      attributes: new Attributes({ to: int(elementCode('float64')) }),
    },
    {
      label: 'to int64 truncates',
      inputs: [random.tensor([2, 3], 3)],
      attributes: new Attributes({ to: int(elementCode('int64')) }),
      differentiable: [],
    },
    {
      label: 'to bool',
      inputs: [Tensor.of('float32', [3], [0, 0.5, -2])],
      attributes: new Attributes({ to: int(elementCode('bool')) }),
      differentiable: [],
    },
    {
      label: 'from int64',
      inputs: [Tensor.ints([3, -4])],
      attributes: new Attributes({ to: int(elementCode('float32')) }),
    },
  ],
});

// ---- Identity and Dropout

const identity = defineOp({
  type: 'Identity',
  infer: (ctx) => [ctx.type(0)],
  propagate: passOn,
  evaluate: (ctx) => [ctx.input(0)],
  gradient: (ctx) => [ctx.wants(0) ? ctx.grad() : undefined],
  keepsShape: true,
  samples: (random) => [{ label: 'plain', inputs: [random.tensor([2, 3])] }],
});

/** Dropout that drops nothing: as exported for inference. */
const dropout = defineOp({
  type: 'Dropout',
  infer: (ctx) => [ctx.type(0), { dtype: 'bool', shape: ctx.type(0).shape }],
  evaluate: (ctx) => {
    if (ctx.inputs[2]?.data[0])
      throw new DiagnosticError(
        'op/unsupported',
        'a Dropout node in training mode',
        'its mask is random: the reference cannot compute it',
      );
    const x = ctx.input(0);
    return [x, mapElements(x, () => 1, 'bool')].slice(0, ctx.outputCount);
  },
  gradient: (ctx) => {
    if (!ctx.wants(0)) return [undefined];
    const mode = ctx.node.inputs[2];
    const drops = mode && (!mode.constant || mode.constant.load().data[0] !== 0);
    if (drops)
      noGradient(
        ctx.node,
        'it drops elements at random (training_mode), and the recomputation cannot draw the same mask; ' +
          'export the model for inference (torch: model.eval(), or TrainingMode.EVAL)',
      );
    return [ctx.grad()];
  },
  keepsShape: true,
  samples: (random) => [
    { label: 'inference', inputs: [random.tensor([2, 3])] },
    {
      label: 'ratio and mask',
      inputs: [random.tensor([2, 3]), Tensor.scalar(0.5)],
      constants: [1],
      outputs: 2,
      differentiable: [0],
    },
    {
      label: 'training mode off',
      inputs: [random.tensor([2, 3]), Tensor.scalar(0.5), Tensor.scalar(0, 'bool')],
      constants: [1, 2],
      differentiable: [0],
    },
  ],
});

// ---- ArgMax

const argMax = defineOp({
  type: 'ArgMax',
  infer: (ctx) => {
    const { shape } = ctx.type(0);
    if (!shape) return [{ dtype: 'int64', shape }];
    const axis = normalizeAxis(ctx.attributes.int('axis', 0), shape.length, (why) => ctx.fail(why));
    const keep = ctx.attributes.int('keepdims', 1) === 1;
    const reduced = keep
      ? shape.map((d, i) => (i === axis ? 1 : d))
      : shape.filter((_, i) => i !== axis);
    return [{ dtype: 'int64', shape: reduced }];
  },
  evaluate: (ctx) => {
    const x = ctx.input(0);
    const axis = normalizeAxis(ctx.attributes.int('axis', 0), x.dims.length, impossible);
    const last = ctx.attributes.int('select_last_index', 0) === 1;
    const extent = x.dims[axis] as number;
    const inner = elementCount(x.dims.slice(axis + 1));
    const kept = x.dims.map((d, i) => (i === axis ? 1 : d));
    const out = Tensor.zeros('int64', kept);
    for (let i = 0; i < out.size; i++) {
      const base = Math.floor(i / inner) * extent * inner + (i % inner);
      let best = 0;
      for (let k = 1; k < extent; k++) {
        const [now, old] = [
          x.data[base + k * inner] as number,
          x.data[base + best * inner] as number,
        ];
        if (now > old || (last && now === old)) best = k;
      }
      out.data[i] = best;
    }
    if (ctx.attributes.int('keepdims', 1) === 1) return [out];
    return [out.reshape(kept.filter((_, i) => i !== axis))];
  },
  nonDifferentiable: true,
  samples: (random) => [
    { label: 'default', inputs: [random.tensor([3, 4])] },
    {
      label: 'last axis dropped',
      inputs: [random.tensor([3, 4])],
      attributes: new Attributes({ axis: int(-1), keepdims: int(0) }),
    },
    {
      label: 'last of equals',
      inputs: [Tensor.of('float32', [4], [1, 3, 3, 0])],
      attributes: new Attributes({ select_last_index: int(1) }),
    },
  ],
});

export const tensorShapeOps: readonly OpDefinition[] = [
  shapeOp,
  size,
  cast,
  identity,
  dropout,
  argMax,
];
