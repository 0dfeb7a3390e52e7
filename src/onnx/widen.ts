// Weights of another precision as float32. In: float16, bfloat16 or float64 constants. Out: float32 constants, of
// the same values where float32 has them. Invariant: nothing is converted before it is asked for, and then one
// tensor at a time.

import { ELEMENT_BYTES, Tensor, encodeElements, isFloat } from '../ir/index.js';
import type { ConstantData, DataType } from '../ir/index.js';
import { fromBfloat16, fromFloat16 } from './numeric.js';
import { TensorData } from './tensor-data.js';
import { readSpan } from './wire.js';

/** Bytes converted at a time: a multiple of every element's size. */
const PART = 1 << 21;

/** Whether a type is a float type that asFloat32 converts. */
export const isOtherFloat = (dtype: DataType | undefined): boolean =>
  dtype !== undefined && dtype !== 'float32' && isFloat(dtype);

/** A float constant in float32; others, and float32 itself, are handed back. */
export const asFloat32 = (data: ConstantData): ConstantData =>
  isOtherFloat(data.dtype) ? new Float32Data(data) : data;

/** Made by asFloat32. */
export class Float32Data implements ConstantData {
  readonly dtype = 'float32';

  constructor(readonly origin: ConstantData) {}

  get dims(): readonly number[] {
    return this.origin.dims;
  }

  load(): Tensor {
    return new Tensor('float32', this.dims, this.origin.load().data.map(Math.fround));
  }

  bytes(): Uint8Array {
    return new Uint8Array(Buffer.concat([...this.parts()]));
  }

  /** The bytes in parts: a large weight is never there as a whole, in neither precision. */
  *parts(): Iterable<Uint8Array> {
    const { origin } = this;
    if (origin instanceof TensorData) origin.check();
    const range = origin instanceof TensorData ? origin.rawRange() : undefined;
    if (!range) {
      yield encodeElements('float32', origin.load().data);
      return;
    }
    for (let start = range.start; start < range.end; start += PART) {
      const part = readSpan({ ...range, start, end: Math.min(range.end, start + PART) });
      const floats = widen(origin.dtype, part);
      yield new Uint8Array(floats.buffer);
    }
  }
}

/** Without an array of float64 on the way: large weights pass here. */
function widen(dtype: DataType, bytes: Uint8Array): Float32Array<ArrayBuffer> {
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  const out = new Float32Array(bytes.length / ELEMENT_BYTES[dtype]);
  if (dtype === 'float64')
    for (let i = 0; i < out.length; i++) out[i] = view.getFloat64(i * 8, true);
  else {
    const table = tableOf(dtype);
    for (let i = 0; i < out.length; i++) out[i] = table[view.getUint16(i * 2, true)] ?? NaN;
  }
  return out;
}

/** All 65536 values of a type of 16 bits. */
const tables = new Map<DataType, Float32Array>();
function tableOf(dtype: DataType): Float32Array {
  let table = tables.get(dtype);
  if (!table) {
    const value = dtype === 'float16' ? fromFloat16 : fromBfloat16;
    tables.set(dtype, (table = Float32Array.from({ length: 65536 }, (_, bits) => value(bits))));
  }
  return table;
}
