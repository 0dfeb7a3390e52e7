// What many operators share: broadcasting of shapes and elements, strided copies, axes, and the way back
// from a broadcast gradient. Invariant: nothing here knows a particular operator, and no function writes
// to the tensors it is given.

import { DiagnosticError } from '../diagnostics/index.js';
import { Tensor, elementCount, isStatic } from '../ir/index.js';
import type { DataType, Dim, Node, Shape, TensorType, Value } from '../ir/index.js';
import type { Builder } from './builder.js';
import type { InferContext } from './definition.js';

// ---- shapes

/** One extent of a broadcast. Two different symbols give a fresh one: either may turn out to be 1. */
function broadcastDim(ctx: InferContext, a: Dim, b: Dim): Dim {
  if (a === b || b === 1) return a;
  if (a === 1) return b;
  if (typeof a === 'number' && typeof b === 'number')
    ctx.fail(`extents ${a} and ${b} cannot be broadcast`);
  // A symbol beside a number above 1 must be that number or 1.
  if (typeof a === 'number') return a;
  if (typeof b === 'number') return b;
  return ctx.fresh();
}

/** The shape that all given shapes broadcast to (numpy rules). @throws DiagnosticError shape/mismatch */
export function broadcastShapes(ctx: InferContext, shapes: readonly Shape[]): Shape {
  const rank = Math.max(0, ...shapes.map((s) => s.length));
  return Array.from({ length: rank }, (_, i) =>
    shapes.reduce<Dim>((dim, shape) => {
      const at = i - (rank - shape.length);
      return broadcastDim(ctx, dim, shape[at] ?? 1);
    }, 1),
  );
}

/** Type of an elementwise result over all operands; dtype of the operands unless given. */
export function broadcastType(ctx: InferContext, dtype?: DataType): TensorType {
  const types = Array.from({ length: ctx.inputCount }, (_, i) => ctx.type(i));
  const own = types[0]?.dtype ?? 'float32';
  const other = types.find((t) => t.dtype !== own);
  if (other) ctx.fail(`operands are ${own} and ${other.dtype}`);
  const known = types.every((t) => t.shape !== undefined);
  return {
    dtype: dtype ?? own,
    shape: known ? broadcastShapes(ctx, shapesOf(ctx)) : undefined,
  };
}

const shapesOf = (ctx: InferContext): Shape[] =>
  Array.from({ length: ctx.inputCount }, (_, i) => ctx.shape(i));

/** Number of elements of output 0, 0 while it is not known: what most costs are proportional to. */
export function outputSize(ctx: InferContext): number {
  const shape = ctx.node.outputs[0]?.shape;
  return isStatic(shape) ? elementCount(shape) : 0;
}

/** Number of elements of an operand, 0 while it is not known. */
export function inputSize(ctx: InferContext, index = 0): number {
  const shape = ctx.node.inputs[index]?.shape;
  return isStatic(shape) ? elementCount(shape) : 0;
}

/** An axis counted from the front. */
export function normalizeAxis(axis: number, rank: number, fail: (why: string) => never): number {
  const normal = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(normal) || normal < 0 || normal >= rank)
    fail(`axis ${axis} does not exist in rank ${rank}`);
  return normal;
}

/** normalizeAxis over a list, sorted, each once. */
export function normalizeAxes(
  axes: readonly number[],
  rank: number,
  fail: (why: string) => never,
): number[] {
  const normal = new Set(axes.map((axis) => normalizeAxis(axis, rank, fail)));
  return [...normal].sort((a, b) => a - b);
}

/** For evaluate, where types were checked before: a failure is ours. */
export const impossible = (why: string): never => {
  throw new Error(`internal error: ${why}`);
};

// ---- elements

/** Row-major strides. */
export function stridesOf(dims: readonly number[]): number[] {
  const strides = new Array<number>(dims.length);
  let step = 1;
  for (let i = dims.length - 1; i >= 0; i--) {
    strides[i] = step;
    step *= dims[i] as number;
  }
  return strides;
}

/** Calls visit(offset, position) for each row of the last axis: the walk behind all strided copies. */
function eachRow(
  dims: readonly number[],
  strides: readonly number[],
  offset: number,
  visit: (base: number, position: number) => void,
): void {
  const rank = dims.length;
  const inner = dims[rank - 1] ?? 1;
  const total = elementCount(dims);
  const counter = new Array<number>(rank).fill(0);
  let base = offset;
  for (let position = 0; position < total; position += inner) {
    visit(base, position);
    for (let axis = rank - 2; axis >= 0; axis--) {
      const stride = strides[axis] as number;
      const extent = dims[axis] as number;
      base += stride;
      if (++(counter[axis] as number) < extent) break;
      base -= stride * extent;
      counter[axis] = 0;
    }
  }
}

/** The elements of a strided view in row-major order: Transpose, Expand and Slice are all this copy. */
export function copyStrided(
  source: Float64Array,
  dims: readonly number[],
  strides: readonly number[],
  offset = 0,
): Float64Array {
  const out = new Float64Array(elementCount(dims));
  const inner = dims[dims.length - 1] ?? 1;
  const step = strides[dims.length - 1] ?? 0;
  eachRow(dims, strides, offset, (base, position) => {
    for (let k = 0; k < inner; k++) out[position + k] = source[base + k * step] as number;
  });
  return out;
}

/** The reverse of copyStrided: writes the elements of `source` into the strided view of `target`. */
export function writeStrided(
  target: Float64Array,
  source: Float64Array,
  dims: readonly number[],
  strides: readonly number[],
  offset = 0,
): void {
  const inner = dims[dims.length - 1] ?? 1;
  const step = strides[dims.length - 1] ?? 0;
  eachRow(dims, strides, offset, (base, position) => {
    for (let k = 0; k < inner; k++) target[base + k * step] = source[position + k] as number;
  });
}

/** Transposed copy. */
export function permute(tensor: Tensor, perm: readonly number[]): Tensor {
  const strides = stridesOf(tensor.dims);
  const dims = perm.map((p) => tensor.dims[p] as number);
  const moved = perm.map((p) => strides[p] as number);
  return new Tensor(tensor.dtype, dims, copyStrided(tensor.data, dims, moved));
}

/** The dims that all given dims broadcast to. */
export function broadcastDims(all: readonly (readonly number[])[]): number[] {
  const rank = Math.max(0, ...all.map((d) => d.length));
  return Array.from({ length: rank }, (_, i) =>
    all.reduce((extent, dims) => {
      const own = dims[i - (rank - dims.length)] ?? 1;
      if (own !== 1 && extent !== 1 && own !== extent)
        impossible(`[${all.map((d) => d.join(',')).join('] and [')}] cannot be broadcast`);
      return extent === 1 ? own : extent;
    }, 1),
  );
}

/** The tensor repeated to dims; itself where it has them already. */
export function broadcastTo(tensor: Tensor, dims: readonly number[]): Tensor {
  const lead = dims.length - tensor.dims.length;
  if (lead === 0 && tensor.dims.every((d, i) => d === dims[i])) return tensor;
  if (tensor.size === 1)
    return new Tensor(
      tensor.dtype,
      dims,
      new Float64Array(elementCount(dims)).fill(tensor.data[0] as number),
    );
  const own = stridesOf(tensor.dims);
  const strides = dims.map((_, i) =>
    i < lead || tensor.dims[i - lead] === 1 ? 0 : (own[i - lead] as number),
  );
  return new Tensor(tensor.dtype, dims, copyStrided(tensor.data, dims, strides));
}

/** Elementwise function of one tensor. */
export function mapElements(
  tensor: Tensor,
  f: (x: number) => number,
  dtype: DataType = tensor.dtype,
): Tensor {
  return new Tensor(dtype, tensor.dims, tensor.data.map(f));
}

/** Elementwise function of two tensors under broadcasting. */
export function zipElements(
  a: Tensor,
  b: Tensor,
  f: (x: number, y: number) => number,
  dtype: DataType = a.dtype,
): Tensor {
  const dims = broadcastDims([a.dims, b.dims]);
  const x = broadcastTo(a, dims).data;
  const y = broadcastTo(b, dims).data;
  const out = new Float64Array(x.length);
  for (let i = 0; i < out.length; i++) out[i] = f(x[i] as number, y[i] as number);
  return new Tensor(dtype, dims, out);
}

/** The tensor with its slices along one axis rearranged; index −1 stands for a slice of `fill`. */
export function takeAlong(
  tensor: Tensor,
  axis: number,
  indices: readonly number[],
  fill = 0,
): Tensor {
  const outer = elementCount(tensor.dims.slice(0, axis));
  const extent = tensor.dims[axis] as number;
  const inner = elementCount(tensor.dims.slice(axis + 1));
  const dims = tensor.dims.map((d, i) => (i === axis ? indices.length : d));
  const out = new Float64Array(elementCount(dims)).fill(fill);
  for (let o = 0; o < outer; o++)
    indices.forEach((index, k) => {
      if (index < 0) return;
      const from = (o * extent + index) * inner;
      out.set(tensor.data.subarray(from, from + inner), (o * indices.length + k) * inner);
    });
  return new Tensor(tensor.dtype, dims, out);
}

// ---- building

/** A 0-d constant of the element type of another value. */
export const scalarLike = (b: Builder, value: Value, number: number): Value =>
  b.constant(Tensor.scalar(number, value.type?.dtype ?? 'float32'));

/** The shape of a value as an operand: a constant where it is known, else a Shape node. */
export function shapeOperand(b: Builder, value: Value): Value {
  return isStatic(value.shape) ? b.ints(...value.shape) : b.op('Shape', [value]);
}

/** x with the shape of `like`, which has as many elements. */
export function reshapeLike(b: Builder, x: Value, like: Value): Value {
  return retyped(b.op('Reshape', [x, shapeOperand(b, like)]), like);
}

/** x repeated to the shape of `like`. */
export function expandLike(b: Builder, x: Value, like: Value): Value {
  return retyped(b.op('Expand', [x, shapeOperand(b, like)]), like);
}

/** Inference does not see through a Shape node here; the shape is known all the same. */
function retyped(value: Value, like: Value): Value {
  if (value.type) value.type = { dtype: value.type.dtype, shape: like.shape };
  return value;
}

/**
 * The gradient by an operand that was broadcast: summed over every axis along which it was repeated.
 * @param shape shape of the operand
 * @throws DiagnosticError shape/unknown when two symbols leave open whether an axis was repeated
 */
export function unbroadcast(b: Builder, grad: Value, shape: Shape | undefined): Value {
  const full = grad.shape;
  const unknown = (why: string): never => {
    throw new DiagnosticError('shape/unknown', `the gradient ${grad.name}`, why);
  };
  if (!full || !shape) return unknown('the rank is not known, so a broadcast cannot be undone');
  const lead = full.length - shape.length;
  const inner: number[] = [];
  shape.forEach((dim, i) => {
    const wide = full[lead + i];
    if (dim === wide) return;
    if (dim !== 1)
      unknown(`[${full.join(',')}] may or may not be a broadcast of [${shape.join(',')}]`);
    inner.push(lead + i);
  });
  const leading = Array.from({ length: lead }, (_, i) => i);
  let result = grad;
  if (inner.length > 0) {
    result = reduceSum(b, result, [...leading, ...inner], true);
    if (lead > 0)
      result = isStatic(shape)
        ? b.op('Reshape', [result, b.ints(...shape)])
        : b.op('Squeeze', [result, b.ints(...leading)]);
  } else if (lead > 0) result = reduceSum(b, result, leading, false);
  return result;
}

/** Refuses the gradient of a node that has none in the form it is used. */
export function noGradient(node: Node, why: string): never {
  throw new DiagnosticError('op/no-gradient', `node ${node.name} (${node.op})`, why);
}

/** Elements of an operand that must be constant for a gradient to be built. */
export function constantOperand(node: Node, index: number): number[] | undefined {
  const value = node.inputs[index];
  if (!value) return undefined;
  return (
    value.constant?.load().toArray() ??
    noGradient(node, `operand ${index} (${value.name}) is not constant`)
  );
}

/** Static shape of a value that a gradient needs. */
export function knownShape(node: Node, value: Value): readonly number[] {
  const { shape } = value;
  if (isStatic(shape)) return shape;
  throw new DiagnosticError(
    'shape/unknown',
    `node ${node.name} (${node.op})`,
    `its gradient needs the shape of ${value.name}, which is [${shape?.join(',') ?? '…'}]`,
  );
}

/** ReduceSum over constant axes. */
export function reduceSum(b: Builder, x: Value, axes: readonly number[], keep: boolean): Value {
  return b.op('ReduceSum', [x, b.ints(...axes)], {
    attributes: { keepdims: { kind: 'int', value: keep ? 1 : 0 } },
  });
}

/** Guards a node through the float operand with the fewest elements: the cheapest copy there is. */
export function guardSmallest(node: Node, token: Value, b: Builder): void {
  let best = 0;
  let size = Infinity;
  node.inputs.forEach((value, index) => {
    if (value?.type?.dtype !== token.type?.dtype || !isStatic(value?.shape)) return;
    const own = elementCount(value.shape);
    if (own < size) [best, size] = [index, own];
  });
  node.setInput(best, b.op('Add', [node.input(best), token]));
}
