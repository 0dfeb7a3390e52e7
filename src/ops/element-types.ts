// Element types as the integers that attributes such as Cast's `to` hold (TensorProto.DataType of onnx.proto).

import type { DataType } from '../ir/index.js';

const CODES: Readonly<Partial<Record<DataType, number>>> = {
  float32: 1,
  uint8: 2,
  int8: 3,
  uint16: 4,
  int16: 5,
  int32: 6,
  int64: 7,
  string: 8,
  bool: 9,
  float16: 10,
  float64: 11,
  uint32: 12,
  uint64: 13,
  bfloat16: 16,
};

const TYPES = new Map(
  Object.entries(CODES).map(([dtype, code]) => [code, dtype as DataType] as const),
);

/** TensorProto.DataType of an element type; 0 (undefined) where it has none. */
export const elementCode = (dtype: DataType): number => CODES[dtype] ?? 0;

/** Element type of a TensorProto.DataType; 'other' for those we do not compute with. */
export const elementType = (code: number): DataType => TYPES.get(code) ?? 'other';
