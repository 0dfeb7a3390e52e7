// Values that come from nowhere: Constant, ConstantOfShape, Range. In: attributes and shapes. Out: a tensor.
// Invariant: short integer results are known to shape inference too.

import {
  Attributes,
  InlineData,
  Tensor,
  elementCount,
  float,
  floats,
  int,
  ints,
  isFloat,
  tensor,
} from '../ir/index.js';
import type { DataType, Dim } from '../ir/index.js';
import { impossible } from './elements.js';
import { defineOp } from './definition.js';
import type { InferContext, OpDefinition } from './definition.js';

/** Longest list of known elements that is worth carrying. */
const LIMIT = 4096;

// ---- Constant and ConstantOfShape

/** The tensor of a Constant node; undefined for kinds that hold no numbers. */
function constantTensor(attributes: Attributes): Tensor | undefined {
  const value = attributes.tensor('value');
  if (value) return value.load();
  for (const [name, attribute] of attributes.entries()) {
    if (name === 'value_int' && attribute.kind === 'int')
      return Tensor.scalar(attribute.value, 'int64');
    if (name === 'value_float' && attribute.kind === 'float')
      return Tensor.scalar(attribute.value, 'float32');
    if (name === 'value_ints' && attribute.kind === 'ints') return Tensor.ints(attribute.value);
    if (name === 'value_floats' && attribute.kind === 'floats')
      return Tensor.of('float32', [attribute.value.length], attribute.value);
  }
  return undefined;
}

const constant = defineOp({
  type: 'Constant',
  infer: (ctx) => {
    // The type of a tensor is known without decoding it.
    const value = ctx.attributes.tensor('value');
    if (value) return [{ dtype: value.dtype, shape: value.dims }];
    const small = constantTensor(ctx.attributes);
    return [small && { dtype: small.dtype, shape: small.dims }];
  },
  propagate: (ctx) => {
    const value = ctx.attributes.tensor('value');
    if (value && (isFloat(value.dtype) || elementCount(value.dims) > LIMIT)) return undefined;
    const loaded = constantTensor(ctx.attributes);
    return loaded && !isFloat(loaded.dtype) ? loaded.toArray() : undefined;
  },
  evaluate: (ctx) => [
    constantTensor(ctx.attributes) ?? impossible('a Constant without numbers is evaluated'),
  ],
  nonDifferentiable: true,
  samples: (random) => [
    {
      label: 'tensor',
      inputs: [],
      attributes: new Attributes({ value: tensor(new InlineData(random.tensor([2, 3]))) }),
    },
    { label: 'int', inputs: [], attributes: new Attributes({ value_int: int(-7) }) },
    { label: 'ints', inputs: [], attributes: new Attributes({ value_ints: ints([1, -1, 3]) }) },
    { label: 'float', inputs: [], attributes: new Attributes({ value_float: float(0.5) }) },
    {
      label: 'floats',
      inputs: [],
      attributes: new Attributes({ value_floats: floats([1, 0.25]) }),
    },
  ],
});

const filling = (attributes: Attributes): { dtype: DataType; value: number } => {
  const given = attributes.tensor('value');
  return { dtype: given?.dtype ?? 'float32', value: given?.load().data[0] ?? 0 };
};

const constantOfShape = defineOp({
  type: 'ConstantOfShape',
  infer: (ctx) => {
    const { dtype } = filling(ctx.attributes);
    const dims = ctx.content(0);
    if (dims) return [{ dtype, shape: dims }];
    const rank = ctx.type(0).shape?.[0];
    const open = typeof rank === 'number';
    return [{ dtype, shape: open ? Array.from({ length: rank }, () => ctx.fresh()) : undefined }];
  },
  propagate: (ctx) => {
    const { dtype, value } = filling(ctx.attributes);
    const dims = ctx.numbers(0);
    const count = dims && elementCount(dims);
    if (isFloat(dtype) || count === undefined || count > LIMIT) return undefined;
    return new Array<Dim>(count).fill(value);
  },
  evaluate: (ctx) => {
    const { dtype, value } = filling(ctx.attributes);
    const dims = ctx.input(0).toArray();
    return [new Tensor(dtype, dims, new Float64Array(elementCount(dims)).fill(value))];
  },
  nonDifferentiable: true,
  samples: () => [
    { label: 'zeros', inputs: [Tensor.ints([2, 3])], constants: [0] },
    {
      label: 'int64 ones',
      inputs: [Tensor.ints([4])],
      constants: [0],
      attributes: new Attributes({ value: tensor(new InlineData(Tensor.ints([1]))) }),
    },
  ],
});

// ---- Range

const rangeCount = (start: number, limit: number, delta: number): number =>
  Math.max(0, Math.ceil((limit - start) / delta));

/** Operand of a Range as far as it is known; float constants are no shape contents. */
function rangeOperand(ctx: InferContext, index: number): Dim | undefined {
  return ctx.content(index)?.[0] ?? ctx.node.inputs[index]?.constant?.load().data[0];
}

const range = defineOp({
  type: 'Range',
  infer: (ctx) => {
    const { dtype } = ctx.type(0);
    const [start, limit, delta] = [0, 1, 2].map((i) => rangeOperand(ctx, i));
    if (typeof start === 'number' && typeof limit === 'number' && typeof delta === 'number')
      return [{ dtype, shape: [rangeCount(start, limit, delta)] }];
    const counts = start === 0 && delta === 1 && limit !== undefined;
    return [{ dtype, shape: [counts ? limit : ctx.fresh()] }];
  },
  propagate: (ctx) => {
    const [start, limit, delta] = [ctx.numbers(0)?.[0], ctx.numbers(1)?.[0], ctx.numbers(2)?.[0]];
    if (start === undefined || limit === undefined || delta === undefined) return undefined;
    const length = rangeCount(start, limit, delta);
    return length > LIMIT ? undefined : Array.from({ length }, (_, i) => start + i * delta);
  },
  evaluate: (ctx) => {
    const [start, limit, delta] = [0, 1, 2].map((i) => ctx.input(i).data[0] as number) as [
      number,
      number,
      number,
    ];
    const length = rangeCount(start, limit, delta);
    const values = Array.from({ length }, (_, i) => start + i * delta);
    return [Tensor.of(ctx.input(0).dtype, [length], values)];
  },
  nonDifferentiable: true,
  samples: () => [
    {
      label: 'integers',
      inputs: [Tensor.scalar(2, 'int64'), Tensor.scalar(11, 'int64'), Tensor.scalar(3, 'int64')],
      constants: [0, 1, 2],
    },
    {
      label: 'downwards',
      inputs: [Tensor.scalar(1), Tensor.scalar(-0.6), Tensor.scalar(-0.25)],
      constants: [0, 1, 2],
    },
  ],
});

export const tensorConstantOps: readonly OpDefinition[] = [constant, constantOfShape, range];
