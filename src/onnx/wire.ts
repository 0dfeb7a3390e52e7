// Protobuf at wire level. In: a source of bytes (memory, or a file read in windows). Out: the fields of a
// message as byte ranges. Invariant: nothing is decoded and no payload is copied here, so a file of any size
// can be walked, and every range can be written back as it was.

import { DiagnosticError } from '../diagnostics/index.js';

/** Bytes that can be read by position. */
export interface ByteSource {
  readonly size: number;
  /** What messages call it: a path, or "model". */
  readonly label: string;
  /** The bytes [offset, offset + length): a view or a copy, never to be written to. */
  read(offset: number, length: number): Uint8Array;
  /** Some bytes that lie at hand and hold at least [at, min(at + 32, size)). */
  window(at: number): { readonly bytes: Uint8Array; readonly base: number };
}

export interface Span {
  readonly source: ByteSource;
  readonly start: number;
  readonly end: number;
}

/** One field of a message: tag at start, payload [from, end). */
export interface Field extends Span {
  readonly number: number;
  /** 0 varint, 1 eight bytes, 2 length-delimited, 3 group, 5 four bytes. */
  readonly wire: number;
  readonly from: number;
}

/** Messages may nest this deep, as in protobuf's own implementations. */
const MAX_DEPTH = 100;

export class MemorySource implements ByteSource {
  constructor(
    private readonly bytes: Uint8Array,
    readonly label = 'model',
  ) {}
  get size(): number {
    return this.bytes.length;
  }
  read(offset: number, length: number): Uint8Array {
    return this.bytes.subarray(offset, offset + length);
  }
  window(): { bytes: Uint8Array; base: number } {
    return { bytes: this.bytes, base: 0 };
  }
}

export const wholeSpan = (source: ByteSource): Span => ({ source, start: 0, end: source.size });
export const readSpan = (span: Span): Uint8Array =>
  span.source.read(span.start, span.end - span.start);
export const payload = (field: Field): Uint8Array =>
  field.source.read(field.from, field.end - field.from);
/** The payload as a span of its own: what a nested message is scanned from. */
export const inside = (field: Field): Span => ({
  source: field.source,
  start: field.from,
  end: field.end,
});

export function damaged(source: ByteSource, why: string): DiagnosticError {
  return new DiagnosticError('model/damaged', source.label, why);
}

/** Reads bytes one after the other, through windows. */
class Cursor {
  private bytes: Uint8Array;
  private base: number;
  constructor(
    private readonly source: ByteSource,
    public at: number,
    private readonly end: number,
  ) {
    ({ bytes: this.bytes, base: this.base } = source.window(at));
  }

  /** A varint as a number; exact up to 2^53, which every tag and length is. */
  varint(): number {
    let value = 0;
    let scale = 1;
    for (let i = 0; i < 10; i++) {
      const byte = this.byte();
      value += (byte & 127) * scale;
      if (byte < 128) return value;
      scale *= 128;
    }
    throw damaged(this.source, `a varint before byte ${this.at} does not end`);
  }

  private byte(): number {
    if (this.at >= this.end)
      throw damaged(this.source, `a message ends inside a field at byte ${this.at}`);
    let index = this.at - this.base;
    if (index < 0 || index >= this.bytes.length) {
      ({ bytes: this.bytes, base: this.base } = this.source.window(this.at));
      index = this.at - this.base;
    }
    const byte = this.bytes[index];
    if (byte === undefined) throw damaged(this.source, `the file ends at byte ${this.at}`);
    this.at++;
    return byte;
  }
}

/** The fields of the message that fills a span, in order. @throws DiagnosticError model/damaged */
export function scan(span: Span): Field[] {
  const { source, start, end } = span;
  const fields: Field[] = [];
  const cursor = new Cursor(source, start, end);
  while (cursor.at < end) fields.push(scanField(source, cursor, end, 0));
  return fields;
}

function scanField(source: ByteSource, cursor: Cursor, end: number, depth: number): Field {
  const start = cursor.at;
  const tag = cursor.varint();
  const number = Math.floor(tag / 8);
  const wire = tag % 8;
  if (number < 1 || number >= 2 ** 29)
    throw damaged(source, `field number ${number} at byte ${start}`);
  let from = cursor.at;
  if (wire === 0) cursor.varint();
  else if (wire === 1) cursor.at += 8;
  else if (wire === 5) cursor.at += 4;
  else if (wire === 2) {
    const length = cursor.varint();
    from = cursor.at;
    cursor.at += length;
  } else if (wire === 3) skipGroup(source, cursor, end, number, depth);
  else throw damaged(source, `wire type ${wire} at byte ${start}`);
  if (cursor.at > end)
    throw damaged(source, `the field at byte ${start} reaches past the end of its message`);
  return { source, number, wire, start, from, end: cursor.at };
}

/** Groups are out of use, but an unknown field may be one. */
function skipGroup(
  source: ByteSource,
  cursor: Cursor,
  end: number,
  number: number,
  depth: number,
): void {
  if (depth >= MAX_DEPTH) throw damaged(source, `groups nest deeper than ${MAX_DEPTH}`);
  for (;;) {
    const before = cursor.at;
    if (before >= end) throw damaged(source, `the group ${number} does not end`);
    if (cursor.varint() === number * 8 + 4) return;
    cursor.at = before;
    scanField(source, cursor, end, depth + 1);
  }
}

const utf8 = new TextDecoder();
export const text = (field: Field): string => {
  expectWire(field, 2);
  return utf8.decode(payload(field));
};

/** A varint field as a number (low 53 bits). */
export function varintOf(field: Field): number {
  expectWire(field, 0);
  return new Cursor(field.source, field.from, field.end).varint();
}

/** @throws DiagnosticError when a field that we know has another wire type than its declaration */
export function expectWire(field: Field, wire: number): void {
  if (field.wire !== wire)
    throw damaged(
      field.source,
      `field ${field.number} at byte ${field.start} has wire type ${field.wire}, not ${wire}`,
    );
}

/** The spans one after the other; without a copy where they adjoin in memory. */
export function concat(spans: readonly Span[]): Uint8Array {
  const [first] = spans;
  const last = spans[spans.length - 1];
  if (!first || !last) return new Uint8Array(0);
  if (spans.every((s, i) => i === 0 || spans[i - 1]?.end === s.start))
    return first.source.read(first.start, last.end - first.start);
  const out = new Uint8Array(spans.reduce((n, s) => n + s.end - s.start, 0));
  let at = 0;
  for (const s of spans) {
    out.set(readSpan(s), at);
    at += s.end - s.start;
  }
  return out;
}
