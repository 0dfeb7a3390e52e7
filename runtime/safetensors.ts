// Named arrays in one file, in the layout of safetensors: eight bytes with the length of a JSON header, the header,
// then the raw values. In: floats by name and a few words about them. Out: a file other tools read too. Invariant: a
// file that is not whole, or in which one bit differs, is never taken for one that is: its header holds the SHA-256
// of everything else.

import { createHash } from 'node:crypto';
import type { Hash } from 'node:crypto';
import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { elementCount } from '../src/ir/index.js';
import { atomicWriteWith } from '../src/onnx/index.js';

export interface NamedTensor {
  readonly name: string;
  readonly shape: readonly number[];
  readonly data: Float32Array;
}

interface Entry {
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly data_offsets: readonly [number, number];
}

const METADATA = '__metadata__';
const DIGEST = 'sha256';
/** Stands where the digest will be while the digest is computed. */
const BLANK = '0'.repeat(64);
/** The specification's own limit. */
const MOST_HEADER = 100e6;

const bytesOf = ({ buffer, byteOffset, byteLength }: Float32Array): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

/** A tensor of any element type, its bytes made when they are written. */
export interface RawTensor {
  readonly name: string;
  /** As safetensors calls it: F32, I64, BOOL. */
  readonly dtype: string;
  readonly shape: readonly number[];
  readonly byteLength: number;
  /** Little-endian, row-major; asked for twice. */
  bytes(): Uint8Array;
}

/**
 * Writes the file as a whole or not at all; the arrays are not copied.
 * @throws DiagnosticError usage/output
 */
export function writeTensors(
  path: string,
  metadata: Readonly<Record<string, string>>,
  tensors: readonly NamedTensor[],
): void {
  const raw = tensors.map(({ name, shape, data }): RawTensor => {
    return { name, dtype: 'F32', shape, byteLength: data.byteLength, bytes: () => bytesOf(data) };
  });
  writeRawTensors(path, metadata, raw);
}

/**
 * The same for tensors of any type; one at a time is held.
 * @throws DiagnosticError usage/output
 */
export function writeRawTensors(
  path: string,
  metadata: Readonly<Record<string, string>>,
  tensors: readonly RawTensor[],
): void {
  let end = 0;
  const entries = tensors.map(({ name, dtype, shape, byteLength }): [string, Entry] => {
    const start = end;
    end += byteLength;
    return [name, { dtype, shape, data_offsets: [start, end] }];
  });
  const head = { [METADATA]: { [DIGEST]: BLANK, ...metadata }, ...Object.fromEntries(entries) };
  let text = JSON.stringify(head);
  // Values start at a multiple of 8.
  text += ' '.repeat(-Buffer.byteLength(text) & 7);
  const hash = createHash('sha256').update(text);
  for (const tensor of tensors) hash.update(tensor.bytes());
  const header = Buffer.from(text.replace(BLANK, hash.digest('hex')));
  const length = Buffer.alloc(8);
  length.writeBigUInt64LE(BigInt(header.length));
  atomicWriteWith(path, (write) => {
    write(length);
    write(header);
    for (const tensor of tensors) write(tensor.bytes());
  });
}

export interface ReadTensors {
  readonly metadata: Readonly<Record<string, string>>;
  readonly tensors: ReadonlyMap<string, NamedTensor>;
}

/** @throws Error that says what is wrong with the file */
export function readTensors(path: string): ReadTensors {
  const fd = openSync(path, 'r');
  try {
    return new Reader(fd).read();
  } finally {
    closeSync(fd);
  }
}

class Reader {
  private at = 0;

  constructor(private readonly fd: number) {}

  read(): ReadTensors {
    const { size } = fstatSync(this.fd);
    const length = Number(this.take(8).readBigUInt64LE());
    if (length > Math.min(size, MOST_HEADER)) throw new Error('it is no safetensors file');
    const text = this.take(length).toString('utf8');
    const { [METADATA]: about, ...entries } = JSON.parse(text) as Record<string, unknown>;
    const { [DIGEST]: digest, ...metadata } = (about ?? {}) as Record<string, string>;
    if (digest?.length !== BLANK.length) throw new Error('it holds no checksum');
    const hash = createHash('sha256').update(text.replace(digest, BLANK));
    const tensors = new Map<string, NamedTensor>();
    const inOrder = Object.entries(entries as Record<string, Entry>).sort(
      ([, a], [, b]) => a.data_offsets[0] - b.data_offsets[0],
    );
    const base = this.at;
    for (const [name, { dtype, shape, data_offsets: offsets }] of inOrder) {
      const bytes = 4 * elementCount(shape);
      if (dtype !== 'F32' || offsets[0] !== this.at - base || offsets[1] !== offsets[0] + bytes)
        throw new Error(`its header does not say where ${name} lies`);
      tensors.set(name, { name, shape, data: this.floats(bytes, hash) });
    }
    if (this.at !== size) throw new Error(`it holds ${size} bytes, not ${this.at}`);
    if (hash.digest('hex') !== digest) throw new Error('its checksum is wrong');
    return { metadata, tensors };
  }

  private floats(bytes: number, hash: Hash): Float32Array {
    const data = new Float32Array(bytes / 4);
    const target = bytesOf(data);
    this.fill(target);
    hash.update(target);
    return data;
  }

  private take(length: number): Buffer {
    const bytes = Buffer.alloc(length);
    this.fill(bytes);
    return bytes;
  }

  private fill(target: Uint8Array): void {
    for (let done = 0; done < target.length;) {
      const wanted = Math.min(target.length - done, 2 ** 30);
      const got = readSync(this.fd, target, done, wanted, this.at);
      if (got === 0) throw new Error(`it ends at byte ${this.at}`);
      done += got;
      this.at += got;
    }
  }
}
