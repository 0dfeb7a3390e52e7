// ConstantData → TensorProto. Invariant: elements that lie in a file are copied from there and never decoded;
// others are encoded when their bytes are written, not before.

import { DiagnosticError, invariant } from '../diagnostics/index.js';
import { ELEMENT_BYTES, InlineData, elementCount } from '../ir/index.js';
import type { ConstantData } from '../ir/index.js';
import { encode, fromBigInt } from './codec.js';
import type { ExternalFiles } from './external.js';
import { toBfloat16, toFloat16 } from './numeric.js';
import { Output } from './output.js';
import type { Piece } from './output.js';
import { TensorData } from './tensor-data.js';
import { codeOf } from './types.js';
import { Float32Data } from './widen.js';

const FIELD = { name: 8, raw: 9, externalData: 13, dataLocation: 14 } as const;
/** Fields that say what the elements are; the rest (names, documentation, unknown ones) can outlive them. */
const CONTENT: ReadonlySet<number> = new Set([1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 13, 14]);
/** Smaller tensors stay in the model file even if weights go to a data file. */
const EXTERNAL_MIN = 1024;
/** Offsets are multiples of this, so that runtimes can map the file into memory. */
const ALIGN = 4096;

/** The data file under construction. */
export class DataFile {
  readonly content = new Output();
  constructor(readonly location: string) {}

  add(piece: Piece, length: number): number {
    this.content.zeros((ALIGN - (this.content.length % ALIGN)) % ALIGN);
    const offset = this.content.length;
    this.content.add(piece);
    invariant(this.content.length === offset + length, 'a data file piece of the wrong length');
    return offset;
  }
}

/** Where the elements of tensors go. */
export interface TensorTarget {
  /** Whether references to these data files will not hold, so that their content has to be taken along. */
  readonly relocates: (files: ExternalFiles) => boolean;
  /** Set = larger tensors that are new or change place go there. */
  readonly data: DataFile | undefined;
  /** Whether those that lie in the model file go to `data` too. */
  readonly all: boolean;
  /** The same target with every element in the model file, for tensors inside nodes. */
  readonly inline: TensorTarget;
}

export function makeTarget(
  relocates: (files: ExternalFiles) => boolean,
  data: DataFile | undefined,
  all = true,
): TensorTarget {
  const inline: TensorTarget = {
    relocates,
    data: undefined,
    all: false,
    get inline() {
      return inline;
    },
  };
  return { relocates, data, all, inline };
}

/** @param previous the tensor it replaces: its documentation, metadata and unknown fields are kept */
export function encodeTensor(
  name: string,
  data: ConstantData,
  target: TensorTarget,
  previous?: TensorData,
): Output {
  const out = new Output();
  const given = data instanceof TensorData ? data : undefined;
  const keeper = previous ?? given;
  if (given && !wantsMove(given, target)) {
    for (const field of given.fields)
      if (field.number !== FIELD.name && (CONTENT.has(field.number) || keeper === given))
        out.add(field);
  } else {
    const dims = data.dims.map((d) => fromBigInt(BigInt(d)));
    const dataType = given?.code ?? codeOf(data.dtype);
    if (dataType === 0)
      throw new DiagnosticError('op/unsupported', `tensor ${name}`, 'its element type is unknown');
    out.add(encode('TensorProto', { dims, dataType }));
    const { piece, length } = elements(name, data);
    if (target.data && length >= EXTERNAL_MIN) {
      const { location } = target.data;
      const entries = { location, offset: target.data.add(piece, length), length };
      for (const [key, value] of Object.entries(entries))
        out.field(
          FIELD.externalData,
          encode('StringStringEntryProto', { key, value: String(value) }),
        );
      out.varintField(FIELD.dataLocation, 1);
    } else out.field(FIELD.raw, piece);
    if (keeper === given) keepRest(out, given);
  }
  if (keeper !== given) keepRest(out, keeper);
  if (name !== '') out.field(FIELD.name, new TextEncoder().encode(name));
  return out;
}

function keepRest(out: Output, from: TensorData | undefined): void {
  for (const field of from?.fields ?? [])
    if (!CONTENT.has(field.number) && field.number !== FIELD.name) out.add(field);
}

/** Whether a tensor has to be written anew because its elements change place. */
export function wantsMove(data: TensorData, target: TensorTarget): boolean {
  if (data.external) return target.relocates(data.files);
  const size = elementCount(data.dims) * ELEMENT_BYTES[data.dtype];
  return !!target.data && target.all && size >= EXTERNAL_MIN && data.rawRange() !== undefined;
}

function elements(name: string, data: ConstantData): { piece: Piece; length: number } {
  if (data instanceof TensorData) {
    const range = data.rawRange();
    if (range) return { piece: range, length: range.end - range.start };
  }
  const width = ELEMENT_BYTES[data.dtype];
  invariant(width > 0, `tensor ${name} of type ${data.dtype} cannot be encoded`);
  const length = elementCount(data.dims) * width;
  return { piece: { length, make: () => rawBytes(data) }, length };
}

function rawBytes(data: ConstantData): Iterable<Uint8Array> {
  if (data instanceof Float32Data) return data.parts();
  const half =
    data.dtype === 'float16' ? toFloat16 : data.dtype === 'bfloat16' ? toBfloat16 : undefined;
  if (!half || !(data instanceof InlineData)) return [data.bytes()];
  return [new Uint8Array(Uint16Array.from(data.load().data, half).buffer)];
}
