// Elements of a tensor: little-endian bytes → numbers. Invariant: numbers are exact up to 2^53; float16 and
// bfloat16 are widened exactly.

import { DiagnosticError } from '../diagnostics/index.js';
import type { DataType } from '../ir/index.js';

/** A copy whose buffer starts at 0, as typed arrays of more than one byte need it. */
const aligned = (bytes: Uint8Array): ArrayBuffer => {
  const copy = new ArrayBuffer(bytes.byteLength);
  new Uint8Array(copy).set(bytes);
  return copy;
};

/** raw_data → numbers (on the little-endian machines Node runs on). */
export function decodeElements(dtype: DataType, bytes: Uint8Array, where: string): Float64Array {
  switch (dtype) {
    case 'float32':
      return Float64Array.from(new Float32Array(aligned(bytes)));
    case 'float64':
      return new Float64Array(aligned(bytes));
    case 'float16':
      return Float64Array.from(new Uint16Array(aligned(bytes)), fromFloat16);
    case 'bfloat16':
      return Float64Array.from(new Uint16Array(aligned(bytes)), fromBfloat16);
    case 'int8':
      return Float64Array.from(new Int8Array(aligned(bytes)));
    case 'uint8':
    case 'bool':
      return Float64Array.from(bytes);
    case 'int16':
      return Float64Array.from(new Int16Array(aligned(bytes)));
    case 'uint16':
      return Float64Array.from(new Uint16Array(aligned(bytes)));
    case 'int32':
      return Float64Array.from(new Int32Array(aligned(bytes)));
    case 'uint32':
      return Float64Array.from(new Uint32Array(aligned(bytes)));
    // Typed arrays have no from() over bigints to numbers that both type-checks and streams.
    case 'int64':
      return fromBig(new BigInt64Array(aligned(bytes)));
    case 'uint64':
      return fromBig(new BigUint64Array(aligned(bytes)));
    default:
      throw new DiagnosticError(
        'op/unsupported',
        where,
        `tensors of element type ${dtype} have no numbers to compute with`,
      );
  }
}

function fromBig(values: BigInt64Array | BigUint64Array): Float64Array {
  const out = new Float64Array(values.length);
  values.forEach((value, i) => (out[i] = Number(value)));
  return out;
}

export function fromFloat16(bits: number): number {
  const sign = bits & 0x8000 ? -1 : 1;
  const exponent = (bits >> 10) & 31;
  const fraction = bits & 1023;
  if (exponent === 0) return sign * fraction * 2 ** -24;
  if (exponent === 31) return fraction ? NaN : sign * Infinity;
  return sign * (1 + fraction / 1024) * 2 ** (exponent - 15);
}

const scratch = new DataView(new ArrayBuffer(4));
export function fromBfloat16(bits: number): number {
  scratch.setUint32(0, (bits << 16) >>> 0);
  return scratch.getFloat32(0);
}

/** The nearest float16, ties to even. */
export function toFloat16(value: number): number {
  if (Number.isNaN(value)) return 0x7e00;
  const sign = value < 0 || Object.is(value, -0) ? 0x8000 : 0;
  const magnitude = Math.abs(value);
  if (magnitude >= 65520) return sign | 0x7c00;
  const exponent = magnitude < 2 ** -14 ? -14 : Math.floor(Math.log2(magnitude));
  // In units of the last place; a carry runs into the exponent field, as it should.
  const units = roundEven(magnitude / 2 ** (exponent - 10));
  return sign | (units + (exponent + 14) * 1024);
}

/** The nearest bfloat16, ties to even (through float32, as hardware does). */
export function toBfloat16(value: number): number {
  if (Number.isNaN(value)) return 0x7fc0;
  scratch.setFloat32(0, value);
  const bits = scratch.getUint32(0);
  return ((bits + 0x7fff + ((bits >>> 16) & 1)) >>> 16) & 0xffff;
}

function roundEven(x: number): number {
  const low = Math.floor(x);
  const rest = x - low;
  if (rest !== 0.5) return Math.round(x);
  return low % 2 === 0 ? low : low + 1;
}
