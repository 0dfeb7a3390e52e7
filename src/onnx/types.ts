// Element types and tensor types: ONNX's numbers and TypeProto ⇄ the IR's. Invariant: equal dim_params give
// equal symbols, and an extent the file leaves open gets a symbol that no other extent has.

import type { DataType, Dim, TensorType } from '../ir/index.js';
import type { onnx } from 'onnx-proto';
import { fromBigInt, toNumber } from './codec.js';
import type { Int64 } from './codec.js';

const BY_CODE: Readonly<Record<number, DataType>> = {
  1: 'float32',
  2: 'uint8',
  3: 'int8',
  4: 'uint16',
  5: 'int16',
  6: 'int32',
  7: 'int64',
  8: 'string',
  9: 'bool',
  10: 'float16',
  11: 'float64',
  12: 'uint32',
  13: 'uint64',
  16: 'bfloat16',
};
const CODES = new Map(Object.entries(BY_CODE).map(([code, dtype]) => [dtype, Number(code)]));

/** TensorProto.DataType → ours; complex, 8-bit float and 4-bit types are 'other'. */
export const dtypeOf = (code: number): DataType => BY_CODE[code] ?? 'other';

/** The reverse; 0 (UNDEFINED) for 'other'. */
export const codeOf = (dtype: DataType): number => CODES.get(dtype) ?? 0;

export function sameType(a: TensorType | undefined, b: TensorType | undefined): boolean {
  if (a === b) return true;
  if (a?.dtype !== b?.dtype) return false;
  const [x, y] = [a?.shape, b?.shape];
  return x === y || (!!x && !!y && x.length === y.length && x.every((d, i) => d === y[i]));
}

/** Gives out symbols for extents that the file leaves open. */
export class Symbols {
  private next = 1;
  private readonly renamed = new Map<string, string>();

  fresh(): string {
    return `?${this.next++}`;
  }

  /** A dim_param as it is, unless it could collide with a fresh symbol. */
  named(param: string): string {
    if (!/^\?\d+$/.test(param)) return param;
    let name = this.renamed.get(param);
    if (!name) this.renamed.set(param, (name = this.fresh()));
    return name;
  }
}

/** The tensor type of a TypeProto; undefined if it says nothing, dtype 'other' if it is no tensor. */
export function readType(
  type: onnx.ITypeProto | null | undefined,
  symbols: Symbols,
  options: { zeroIsOpen: boolean },
): TensorType | undefined {
  if (!type) return undefined;
  const tensor = type.tensorType;
  if (!tensor) return { dtype: 'other', shape: undefined };
  if (!tensor.elemType) return undefined;
  const dims = tensor.shape?.dim?.map((dim): Dim => {
    if (dim.dimParam) return symbols.named(dim.dimParam);
    if (dim.dimValue === null || dim.dimValue === undefined || !Object.hasOwn(dim, 'dimValue'))
      return symbols.fresh();
    const value = toNumber(dim.dimValue as number | Int64);
    return value < 0 || (value === 0 && options.zeroIsOpen) ? symbols.fresh() : value;
  });
  return { dtype: dtypeOf(tensor.elemType), shape: tensor.shape ? (dims ?? []) : undefined };
}

/** The reverse. Symbols made by Symbols.fresh become open extents again. */
export function writeType(type: TensorType): onnx.ITypeProto {
  const dims = type.shape?.map((dim) => {
    if (typeof dim === 'number') return { dimValue: fromBigInt(BigInt(dim)) };
    return dim.startsWith('?') ? {} : { dimParam: dim };
  });
  return {
    tensorType: { elemType: codeOf(type.dtype), ...(dims ? { shape: { dim: dims } } : {}) },
  };
}
