// Messages ⇄ bytes, by protobufjs reflection over our schema. In and out: the plain objects that onnx-proto
// declares, widened by what newer IR versions added. Invariant: unknown fields survive a round trip, and
// whatever we encode has passed onnx-proto's own check first.

import onnxProto from 'onnx-proto';
import type { onnx } from 'onnx-proto';
import protobuf from 'protobufjs';
import { DiagnosticError } from '../diagnostics/index.js';
import { root } from './schema.js';

/** An int64 as protobufjs takes and gives it. */
export interface Int64 {
  low: number;
  high: number;
  unsigned: boolean;
}

interface StringEntry {
  key?: string | null;
  value?: string | null;
}

interface NewFields {
  metadataProps?: StringEntry[] | null;
}

/** What each message is as a plain object. */
export interface Messages {
  ModelProto: onnx.IModelProto;
  GraphProto: onnx.IGraphProto & NewFields;
  NodeProto: onnx.INodeProto & NewFields & { overload?: string | null };
  AttributeProto: Omit<onnx.IAttributeProto, 'i' | 'ints' | 'type'> & {
    type?: number | null;
    i?: number | Int64 | null;
    ints?: (number | Int64)[] | null;
  };
  TensorProto: Omit<onnx.ITensorProto, 'dims' | 'dataLocation'> &
    NewFields & { dims?: (number | Int64)[] | null; dataLocation?: number | null };
  ValueInfoProto: onnx.IValueInfoProto & NewFields;
  OperatorSetIdProto: Omit<onnx.IOperatorSetIdProto, 'version'> & {
    version?: number | Int64 | null;
  };
  StringStringEntryProto: StringEntry;
  SparseTensorProto: { dims?: (number | Int64)[] | null };
}

type Name = keyof Messages;

// Each message type is looked up and compiled once.
const types = new Map<string, protobuf.Type>();
function typeOf(name: Name): protobuf.Type {
  let type = types.get(name);
  if (!type) types.set(name, (type = root.lookupType(`onnx.${name}`)));
  return type;
}

/** @throws DiagnosticError model/damaged */
export function decode<K extends Name>(name: K, bytes: Uint8Array, where: string): Messages[K] {
  const reader = protobuf.Reader.create(bytes);
  reader.discardUnknown = false;
  try {
    return typeOf(name).decode(reader);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new DiagnosticError('model/damaged', where, `${name} cannot be decoded: ${why}`);
  }
}

export function encode<K extends Name>(name: K, message: Messages[K]): Uint8Array {
  const problem = onnxProto.onnx[name].verify(message);
  if (problem !== null) throw new Error(`internal error: ${name} is not valid ONNX: ${problem}`);
  return typeOf(name).encode(message).finish();
}

/** An int64 of a message as a number; beyond 2^53 the nearest one. */
export function toNumber(value: number | Int64 | null | undefined): number {
  if (value === null || value === undefined) return 0;
  if (typeof value === 'number') return value;
  return value.unsigned
    ? (value.high >>> 0) * 2 ** 32 + (value.low >>> 0)
    : value.high * 2 ** 32 + (value.low >>> 0);
}

const MASK = 0xffffffffn;
export function fromBigInt(value: bigint): Int64 {
  const bits = BigInt.asUintN(64, value);
  return { low: Number(bits & MASK) | 0, high: Number(bits >> 32n) | 0, unsigned: false };
}
