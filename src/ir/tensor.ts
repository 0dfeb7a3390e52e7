// Element types, shapes and tensors with their elements at hand. Invariant: elements lie in row-major
// order and data.length equals the product of dims.

export type DataType =
  | 'float32'
  | 'float64'
  | 'float16'
  | 'bfloat16'
  | 'int8'
  | 'int16'
  | 'int32'
  | 'int64'
  | 'uint8'
  | 'uint16'
  | 'uint32'
  | 'uint64'
  | 'bool'
  | 'string'
  | 'other';

/** Bytes of one element; 0 where elements have no fixed size (string, other). */
export const ELEMENT_BYTES: Readonly<Record<DataType, number>> = {
  float32: 4,
  float64: 8,
  float16: 2,
  bfloat16: 2,
  int8: 1,
  int16: 2,
  int32: 4,
  int64: 8,
  uint8: 1,
  uint16: 2,
  uint32: 4,
  uint64: 8,
  bool: 1,
  string: 0,
  other: 0,
};

export const isFloat = (dtype: DataType): boolean =>
  dtype === 'float32' || dtype === 'float64' || dtype === 'float16' || dtype === 'bfloat16';

/** A known extent, or the name of a symbolic one. Equal names are equal extents. */
export type Dim = number | string;
export type Shape = readonly Dim[];

/** Element type and shape of a value; shape undefined = rank unknown. */
export interface TensorType {
  readonly dtype: DataType;
  readonly shape: Shape | undefined;
}

export function isStatic(shape: Shape | undefined): shape is readonly number[] {
  return shape?.every((d) => typeof d === 'number') ?? false;
}

export function sameShape(a: Shape | undefined, b: Shape | undefined): boolean {
  return !!a && !!b && a.length === b.length && a.every((d, i) => d === b[i]);
}

export function elementCount(dims: readonly number[]): number {
  return dims.reduce((n, d) => n * d, 1);
}

/** Bytes of a value of this type; undefined while a dimension is symbolic. */
export function byteSize(type: TensorType): number | undefined {
  return isStatic(type.shape) ? elementCount(type.shape) * ELEMENT_BYTES[type.dtype] : undefined;
}

export function formatType(type: TensorType | undefined): string {
  if (!type) return '?';
  return type.shape ? `${type.dtype}[${type.shape.join(',')}]` : `${type.dtype}[…]`;
}

/**
 * A tensor whose elements are numbers at hand: constants that are computed with and the values of the
 * reference interpreter. All element types share one float64 array; int64 is exact up to 2^53, larger
 * magnitudes (the "to the end" of a Slice) saturate harmlessly. Booleans are 0 and 1.
 */
export class Tensor {
  constructor(
    readonly dtype: DataType,
    readonly dims: readonly number[],
    readonly data: Float64Array,
  ) {
    if (data.length !== elementCount(dims))
      throw new Error(`internal error: tensor [${dims.join(',')}] with ${data.length} elements`);
  }

  static of(dtype: DataType, dims: readonly number[], values: ArrayLike<number>): Tensor {
    return new Tensor(dtype, dims, Float64Array.from(values));
  }

  static scalar(value: number, dtype: DataType = 'float32'): Tensor {
    return Tensor.of(dtype, [], [value]);
  }

  static ints(values: readonly number[]): Tensor {
    return Tensor.of('int64', [values.length], values);
  }

  static zeros(dtype: DataType, dims: readonly number[]): Tensor {
    return new Tensor(dtype, dims, new Float64Array(elementCount(dims)));
  }

  get size(): number {
    return this.data.length;
  }

  /** The elements as plain numbers. */
  toArray(): number[] {
    return Array.from(this.data);
  }

  /** The same elements under another shape of equal size. */
  reshape(dims: readonly number[]): Tensor {
    return new Tensor(this.dtype, dims, this.data);
  }
}

/**
 * A constant of the graph. Its elements may still lie as bytes in the model file: `load` decodes them on
 * demand, `dtype` and `dims` are known without touching them.
 */
export interface ConstantData {
  readonly dtype: DataType;
  readonly dims: readonly number[];
  /** @throws DiagnosticError model/external-data or model/missing-weights */
  load(): Tensor;
  /**
   * Little-endian bytes as ONNX raw_data holds them (float32 for float32 and so on), without decoding when
   * they lie so already. @throws as load
   */
  bytes(): Uint8Array;
}

/** A constant made by us, its elements at hand. */
export class InlineData implements ConstantData {
  constructor(private readonly tensor: Tensor) {}
  get dtype(): DataType {
    return this.tensor.dtype;
  }
  get dims(): readonly number[] {
    return this.tensor.dims;
  }
  load(): Tensor {
    return this.tensor;
  }
  bytes(): Uint8Array {
    return encodeElements(this.tensor.dtype, this.tensor.data);
  }
}

/** Numbers → the little-endian bytes of raw_data. Throws for element types without a numeric encoding. */
export function encodeElements(dtype: DataType, data: Float64Array): Uint8Array {
  const typed = ((): ArrayBufferView => {
    switch (dtype) {
      case 'float32':
        return Float32Array.from(data);
      case 'float64':
        return Float64Array.from(data);
      case 'int8':
        return Int8Array.from(data);
      case 'int16':
        return Int16Array.from(data);
      case 'int32':
        return Int32Array.from(data);
      case 'int64':
        return BigInt64Array.from(data, toInt64);
      case 'uint8':
      case 'bool':
        return Uint8Array.from(data);
      case 'uint16':
        return Uint16Array.from(data);
      case 'uint32':
        return Uint32Array.from(data);
      case 'uint64':
        return BigUint64Array.from(data, (v) => BigInt(Number.isFinite(v) ? Math.trunc(v) : 0));
      default:
        throw new Error(`internal error: no raw encoding for ${dtype}`);
    }
  })();
  return new Uint8Array(typed.buffer, typed.byteOffset, typed.byteLength);
}

const INT64_MAX = 2n ** 63n - 1n;
const INT64_MIN = -(2n ** 63n);

/** A number as int64, saturating: the "to the end" of a Slice is 2^63 − 1, which float64 rounds up. NaN, which ONNX leaves
 * open, becomes what processors make of it. */
export function toInt64(value: number): bigint {
  if (Number.isNaN(value)) return INT64_MIN;
  if (value >= 2 ** 63) return INT64_MAX;
  if (value <= -(2 ** 63)) return INT64_MIN;
  return BigInt(Math.trunc(value));
}
