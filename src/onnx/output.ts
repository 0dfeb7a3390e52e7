// What is going to be written, as a list of pieces: bytes, ranges of the file that was read, and tensors that
// are encoded when their turn comes. Invariant: lengths are known before any large piece is touched, so a model
// streams into its file without being held in memory twice.

import protobuf from 'protobufjs';
import { DiagnosticError, invariant } from '../diagnostics/index.js';
import { FileSource } from './files.js';
import type { Span } from './wire.js';

interface Lazy {
  readonly length: number;
  /** The bytes, in as many parts as it likes. */
  readonly make: () => Iterable<Uint8Array>;
}

export type Piece = Uint8Array | Span | Lazy;

const lengthOf = (piece: Piece): number =>
  'source' in piece ? piece.end - piece.start : piece.length;

/** Ranges of files are copied in steps of this many bytes. */
const STEP = 1 << 22;

/** Small messages are put together into pieces of about this many bytes. */
const CHUNK = 1 << 16;

export class Output {
  private readonly pieces: Piece[] = [];
  /** Small messages that are no piece yet. */
  private tail: protobuf.Writer | undefined;
  private closed = 0;

  get length(): number {
    return this.closed + (this.tail?.pos ?? 0);
  }

  add(piece: Piece): this {
    const size = lengthOf(piece);
    if (size === 0) return this;
    this.close();
    this.closed += size;
    const last = this.pieces[this.pieces.length - 1];
    if (
      last &&
      'source' in last &&
      'source' in piece &&
      last.source === piece.source &&
      last.end === piece.start
    )
      this.pieces[this.pieces.length - 1] = { ...last, end: piece.end };
    else this.pieces.push(piece);
    return this;
  }

  append(other: Output): this {
    other.close();
    for (const piece of other.pieces) this.add(piece);
    return this;
  }

  /** A length-delimited field: its tag and length, then its content. */
  field(number: number, content: Output | Piece): this {
    const size = content instanceof Output ? content.length : lengthOf(content);
    this.add(varints(number * 8 + 2, size));
    return content instanceof Output ? this.append(content) : this.add(content);
  }

  /** A length-delimited field whose content is small: a graph has a hundred thousand of them, and a piece each takes longer. */
  message(number: number, write: (content: protobuf.Writer) => void): this {
    const tail = (this.tail ??= protobuf.Writer.create());
    write(tail.uint32(number * 8 + 2).fork());
    if (tail.ldelim().pos >= CHUNK) this.close();
    return this;
  }

  private close(): void {
    const bytes = this.tail?.finish();
    this.tail = undefined;
    if (!bytes?.length) return;
    this.pieces.push(bytes);
    this.closed += bytes.length;
  }

  varintField(number: number, value: number): this {
    return this.add(varints(number * 8, value));
  }

  zeros(count: number): this {
    return count > 0 ? this.add(new Uint8Array(count)) : this;
  }

  /** Hands out every piece in order; files are kept open meanwhile. */
  emit(write: (bytes: Uint8Array) => void): void {
    this.close();
    for (const piece of this.pieces) {
      if ('source' in piece) copy(piece, write);
      else if ('make' in piece) {
        let length = 0;
        for (const bytes of piece.make()) {
          length += bytes.length;
          write(bytes);
        }
        invariant(length === piece.length, `a tensor has ${length} bytes, not ${piece.length}`);
      } else write(piece);
    }
  }

  bytes(): Uint8Array {
    if (this.length > 2 ** 32)
      throw new DiagnosticError('usage/output', 'model', 'it is too large to be held in memory');
    const out = new Uint8Array(this.length);
    let at = 0;
    this.emit((bytes) => {
      out.set(bytes, at);
      at += bytes.length;
    });
    return out;
  }
}

function copy(span: Span, write: (bytes: Uint8Array) => void): void {
  const { source } = span;
  const all = (): void => {
    for (let at = span.start; at < span.end; at += STEP)
      write(source.read(at, Math.min(STEP, span.end - at)));
  };
  if (source instanceof FileSource) source.held(all);
  else all();
}

function varints(...values: number[]): Uint8Array {
  const out: number[] = [];
  for (let value of values) {
    for (; value >= 128; value = Math.floor(value / 128)) out.push((value % 128) | 128);
    out.push(value);
  }
  return Uint8Array.from(out);
}
