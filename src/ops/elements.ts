// Work on elements that evaluations share: strided copies, broadcasting, elementwise functions. Invariant:
// no function writes to a tensor it is given; a result may share the elements of its operand.

import { Tensor, elementCount } from '../ir/index.js';
import type { DataType } from '../ir/index.js';

/** For evaluate, where types were checked before: a failure is ours. */
export const impossible = (why: string): never => {
  throw new Error(`internal error: ${why}`);
};

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

/** The reverse of broadcastTo: the tensor summed over every axis along which dims are repeated. */
export function sumTo(tensor: Tensor, dims: readonly number[]): Tensor {
  const lead = tensor.dims.length - dims.length;
  const own = stridesOf(dims);
  const strides = tensor.dims.map((_, i) =>
    i < lead || dims[i - lead] === 1 ? 0 : (own[i - lead] as number),
  );
  const out = Tensor.zeros(tensor.dtype, dims);
  const step = strides[strides.length - 1] ?? 0;
  const inner = tensor.dims[tensor.dims.length - 1] ?? 1;
  eachRow(tensor.dims, strides, 0, (base, position) => {
    for (let k = 0; k < inner; k++)
      out.data[base + k * step] =
        (out.data[base + k * step] as number) + (tensor.data[position + k] as number);
  });
  return out;
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
