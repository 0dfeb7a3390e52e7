// NumPy's file format. In: a .npy file. Out: its header, and its values a sample (an index of the first axis) at a time,
// so that a file may be larger than memory (which is why no library is used that reads whole files). Invariant: a file
// holds exactly what its header promises; a number that does not fit what it is read as is refused.

import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import type { Pixels, SampleFile } from './dataset.js';
import { bad } from './files.js';

const MAGIC = '\u0093NUMPY';

/** Bytes per element of the types that are read, little-endian where that matters. */
const SIZES: Readonly<Record<string, number>> = {
  ...{ '|u1': 1, '|i1': 1, '|b1': 1, '<u2': 2, '<i2': 2, '<u4': 4, '<i4': 4, '<u8': 8, '<i8': 8 },
  ...{ '<f4': 4, '<f8': 8 },
};

export interface NpyArray {
  readonly path: string;
  readonly fd: number;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Where the values begin. */
  readonly start: number;
}

export const isFloats = ({ dtype }: NpyArray): boolean => dtype.startsWith('<f');

/** For messages: "[50000, 3] of <f4". */
export const describeArray = ({ dtype, shape }: NpyArray): string =>
  `[${shape.join(', ')}] of ${dtype}`;

function readAt(path: string, fd: number, target: Uint8Array, position: number): void {
  for (let done = 0; done < target.length;) {
    const got = readSync(fd, target, done, target.length - done, position + done);
    if (got === 0) throw bad(path, `the file ends at byte ${position + done}`);
    done += got;
  }
}

/** Opens an array and checks its header (NumPy's format 1.0 to 3.0). */
export function openArray(path: string): NpyArray {
  if (!existsSync(path)) throw bad(path, 'the file is missing');
  const fd = openSync(path, 'r');
  try {
    const { size } = fstatSync(fd);
    const head = Buffer.alloc(12);
    if (size < head.length) throw bad(path, `the file ends after ${size} bytes`);
    readAt(path, fd, head, 0);
    if (head.toString('latin1', 0, 6) !== MAGIC) throw bad(path, 'it is no .npy file');
    const long = head.readUInt8(6) > 1;
    const length = long ? head.readUInt32LE(8) : head.readUInt16LE(8);
    const start = (long ? 12 : 10) + length;
    if (start > size) throw bad(path, 'the file ends inside its header');
    const text = Buffer.alloc(length);
    readAt(path, fd, text, start - length);
    const { dtype, shape } = parseHeader(path, text.toString('latin1'));
    const promised = shape.reduce((n, d) => n * d, SIZES[dtype] ?? 0);
    if (size - start !== promised)
      throw bad(
        path,
        `the header promises [${shape.join(', ')}] of ${dtype} = ${promised} bytes, the file holds ${size - start}`,
      );
    return { path, fd, dtype, shape, start };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

/** {'descr': '<f4', 'fortran_order': False, 'shape': (50000, 3, 32, 32), } */
function parseHeader(path: string, text: string): { dtype: string; shape: number[] } {
  const dtype = /'descr':\s*'([^']*)'/.exec(text)?.[1];
  const order = /'fortran_order':\s*(True|False)/.exec(text)?.[1];
  const shape = /'shape':\s*\(([^)]*)\)/.exec(text)?.[1];
  if (dtype === undefined || order === undefined || shape === undefined)
    throw bad(path, 'its header cannot be read');
  if (order === 'True')
    throw bad(path, 'it is in Fortran order', 'save numpy.ascontiguousarray(array)');
  if (SIZES[dtype] === undefined)
    throw bad(path, `its type is ${dtype}`, 'save images as uint8 or float32, labels as integers');
  const dims = shape.split(',').map((d) => d.trim());
  return { dtype, shape: dims.filter((d) => d !== '').map(Number) };
}

type Reader = (bytes: Uint8Array) => (index: number) => number;

const view =
  (make: new (b: ArrayBuffer) => ArrayLike<number>): Reader =>
  ({ buffer }) => {
    const values = new make(buffer as ArrayBuffer);
    return (index) => values[index] ?? NaN;
  };

/** A 64-bit number; one that no label and no token can be is not exact. */
const wide: Reader = ({ buffer }) => {
  const words = new Int32Array(buffer);
  return (index) => (words[2 * index + 1] ?? 0) * 2 ** 32 + ((words[2 * index] ?? 0) >>> 0);
};

const READERS: Readonly<Record<string, Reader>> = {
  ...{ '|u1': view(Uint8Array), '|i1': view(Int8Array), '|b1': view(Uint8Array) },
  ...{ '<u2': view(Uint16Array), '<i2': view(Int16Array) },
  ...{ '<u4': view(Uint32Array), '<i4': view(Int32Array), '<u8': wide, '<i8': wide },
  ...{ '<f4': view(Float32Array), '<f8': view(Float64Array) },
};

const KINDS = { uint8: Uint8Array, int32: Int32Array, float32: Float32Array } as const;
/** What can be read without being converted. */
const SAME: Readonly<Record<SampleFile['dtype'], string>> = {
  uint8: '|u1',
  int32: '<i4',
  float32: '<f4',
};

export interface NpyOptions {
  /** Elements of a sample. */
  readonly size: number;
  /** What they are read as. */
  readonly dtype: SampleFile['dtype'];
  /** Channels that lie side by side and have to be set apart; 1 (default): none. */
  readonly interleaved?: number;
}

/** An array sample by sample; closes its file. */
export class NpyFile implements SampleFile {
  readonly dtype: SampleFile['dtype'];
  readonly size: number;
  readonly path: string;
  /** Samples. */
  readonly count: number;
  private readonly bytes: Uint8Array;
  private readonly values: Pixels;
  private readonly element: (index: number) => number;
  private readonly interleaved: number;
  /** Whether the bytes of the file are the values. */
  private readonly direct: boolean;

  constructor(
    private readonly array: NpyArray,
    { size, dtype, interleaved = 1 }: NpyOptions,
  ) {
    this.size = size;
    this.path = array.path;
    this.count = array.shape[0] ?? 0;
    this.dtype = dtype;
    this.interleaved = interleaved;
    this.values = new KINDS[dtype](size);
    this.direct = array.dtype === SAME[dtype] && interleaved === 1;
    this.bytes = this.direct
      ? new Uint8Array(this.values.buffer)
      : new Uint8Array(size * (SIZES[array.dtype] ?? 0));
    this.element = (READERS[array.dtype] ?? wide)(this.bytes);
  }

  read(sample: number): Pixels {
    const { array, bytes, values } = this;
    readAt(array.path, array.fd, bytes, array.start + sample * bytes.length);
    if (this.direct) return values;
    if (this.interleaved > 1) this.separate();
    else this.convert(sample);
    return values;
  }

  close(): void {
    closeSync(this.array.fd);
  }

  private separate(): void {
    const { values, element, interleaved } = this;
    const plane = this.size / interleaved;
    for (let at = 0, from = 0; at < plane; at++)
      for (let channel = 0; channel < interleaved; channel++, from++)
        values[channel * plane + at] = element(from);
  }

  private convert(sample: number): void {
    const { values, element, dtype } = this;
    for (let at = 0; at < values.length; at++) {
      const value = element(at);
      values[at] = value;
      if (dtype === 'int32' && values[at] !== value)
        throw bad(this.array.path, `sample ${sample} holds ${value}, which is too large a number`);
    }
  }
}
