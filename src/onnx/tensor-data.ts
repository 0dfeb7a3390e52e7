// TensorProto → ConstantData. In: the byte range of a TensorProto. Out: element type and dims at once, elements
// on demand. Invariant: data is neither read nor decoded before load() or bytes(), and its size is checked
// against the dims before anything is allocated for it.

import { DiagnosticError } from '../diagnostics/index.js';
import { ELEMENT_BYTES, Tensor, elementCount } from '../ir/index.js';
import type { ConstantData, DataType } from '../ir/index.js';
import { decode, toNumber } from './codec.js';
import type { Messages } from './codec.js';
import { parseLocation } from './external.js';
import type { ExternalFiles, ExternalLocation } from './external.js';
import { decodeElements } from './numeric.js';
import { dtypeOf } from './types.js';
import { concat, damaged, expectWire, inside, payload, readSpan, scan } from './wire.js';
import type { Field, Span } from './wire.js';

/** Numbers of the fields of TensorProto that hold elements. */
const DATA = { float: 4, int32: 5, string: 6, int64: 7, raw: 9, double: 10, uint64: 11 } as const;
const BULK: ReadonlySet<number> = new Set(Object.values(DATA));

/** A tensor as it lies in a file. */
export class TensorData implements ConstantData {
  readonly name: string;
  readonly dtype: DataType;
  readonly dims: readonly number[];
  /** TensorProto.DataType, which says more than dtype where that is 'other'. */
  readonly code: number;
  /** Set if the elements lie in a file of their own. */
  readonly external: ExternalLocation | undefined;
  /** Every field of the TensorProto, for those who write it again. */
  readonly fields: readonly Field[];

  /** @param span the TensorProto's content, without tag and length */
  constructor(
    readonly span: Span,
    readonly files: ExternalFiles,
  ) {
    this.fields = scan(span);
    const head = headOf(this.fields, span);
    this.name = head.name ?? '';
    this.code = head.dataType ?? 0;
    this.dtype = dtypeOf(this.code);
    this.dims = (head.dims ?? []).map(toNumber);
    if (this.dims.some((d) => d < 0 || !Number.isSafeInteger(d)))
      throw new DiagnosticError('model/invalid', this.where, `its dims are [${this.dims.join()}]`);
    for (const field of this.fields) if (field.number === DATA.raw) expectWire(field, 2);
    this.external =
      head.dataLocation === 1 ? parseLocation(head.externalData ?? [], this.where) : undefined;
  }

  private get where(): string {
    return `${this.span.source.label}, tensor ${this.name || '(unnamed)'}`;
  }

  load(): Tensor {
    const bytes = this.bytes();
    return new Tensor(this.dtype, this.dims, decodeElements(this.dtype, bytes, this.where));
  }

  bytes(): Uint8Array {
    const size = this.byteSize;
    const raw = this.rawRange();
    if (raw) {
      this.expectSize(raw.end - raw.start, size, 'bytes');
      return readSpan(raw);
    }
    if (size === 0) return new Uint8Array(0);
    this.expectData();
    if (size === undefined)
      throw new DiagnosticError(
        'op/unsupported',
        this.where,
        `elements of type ${this.dtype} (ONNX type ${this.code}) are not understood`,
      );
    return this.typed(size);
  }

  /**
   * Whether all elements are there, without reading them.
   * @throws DiagnosticError model/external-data, model/missing-weights, model/damaged
   */
  check(): void {
    const size = this.byteSize;
    const raw = this.rawRange();
    if (raw) this.expectSize(raw.end - raw.start, size, 'bytes');
    else if (size !== undefined && size > 0) this.expectData();
  }

  /** The elements of a string tensor. */
  strings(): string[] {
    return this.fields
      .filter((f) => f.number === DATA.string)
      .map((f) => new TextDecoder().decode(payload(f)));
  }

  /**
   * Where the bytes of raw_data lie, in the model or in a data file; undefined if the elements are held in a
   * typed field or are missing. @throws DiagnosticError model/external-data
   */
  rawRange(): Span | undefined {
    if (this.external) return this.files.range(this.external, this.byteSize, this.where);
    const field = this.fields.findLast((f) => f.number === DATA.raw);
    return field && (field.end > field.from || this.byteSize === 0) ? inside(field) : undefined;
  }

  private get byteSize(): number | undefined {
    const width = ELEMENT_BYTES[this.dtype];
    const count = elementCount(this.dims);
    return count === 0 ? 0 : width === 0 ? undefined : count * width;
  }

  private expectData(): void {
    if (!this.fields.some((f) => BULK.has(f.number) && f.end > f.from))
      throw new DiagnosticError(
        'model/missing-weights',
        this.where,
        `${this.dtype}[${this.dims.join()}] without data`,
      );
  }

  private expectSize(got: number, want: number | undefined, unit: string): void {
    if (want === undefined || got === want) return;
    const why = `tensor ${this.name || '(unnamed)'} of shape [${this.dims.join()}] has ${got} ${unit}, not ${want}`;
    throw damaged(this.span.source, why);
  }

  /** Elements from float_data, int32_data and so on, as raw_data would hold them. */
  private typed(size: number): Uint8Array {
    const count = size / ELEMENT_BYTES[this.dtype];
    const number = fieldFor(this.dtype);
    const fields = this.fields.filter((f) => f.number === number);
    if (number === DATA.float || number === DATA.double) {
      // Packed little-endian numbers are what raw_data holds.
      const bytes = concat(fields.map(inside));
      this.expectSize(bytes.length, size, 'bytes');
      return bytes;
    }
    const values: bigint[] = [];
    for (const field of fields)
      for (const v of varints(payload(field))) {
        values.push(v);
        if (values.length > count) break;
      }
    this.expectSize(values.length, count, 'elements');
    const out = new Uint8Array(size);
    const view = new DataView(out.buffer);
    const width = ELEMENT_BYTES[this.dtype];
    values.forEach((v, i) => {
      const at = i * width;
      if (width === 8) view.setBigUint64(at, v, true);
      else {
        const low = Number(BigInt.asUintN(32, v));
        if (width === 4) view.setUint32(at, low, true);
        else if (width === 2) view.setUint16(at, low & 0xffff, true);
        else view.setUint8(at, low & 0xff);
      }
    });
    return out;
  }
}

function fieldFor(dtype: DataType): number {
  switch (dtype) {
    case 'float32':
      return DATA.float;
    case 'float64':
      return DATA.double;
    case 'int64':
      return DATA.int64;
    case 'uint32':
    case 'uint64':
      return DATA.uint64;
    default:
      return DATA.int32;
  }
}

/** The varints that fill a payload (packed, or one alone). One that does not end is left out. */
function* varints(bytes: Uint8Array): Iterable<bigint> {
  let value = 0n;
  let shift = 0n;
  for (const byte of bytes) {
    value |= BigInt(byte & 127) << shift;
    if (byte < 128) {
      yield BigInt.asUintN(64, value);
      value = 0n;
      shift = 0n;
    } else if ((shift += 7n) > 63n) return;
  }
}

/** The TensorProto without its elements. */
function headOf(fields: readonly Field[], span: Span): Messages['TensorProto'] {
  const head = fields.filter((f) => !BULK.has(f.number));
  return decode('TensorProto', concat(head), span.source.label);
}
