// Reader of NumPy arrays. In: a folder with train-images.npy, train-labels.npy, test-images.npy and test-labels.npy.
// Out: a data set whose pixels stay in their file and are read one sample at a time, so that they may be larger than
// memory (which is why no library is used that reads whole files). Invariant: a file holds exactly what its header
// promises, and as many labels as images.

import { closeSync, existsSync, fstatSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import type { Dataset, Pixels, SampleFile, Split, Wanted } from './dataset.js';
import { bad } from './files.js';

const MAGIC = '\u0093NUMPY';
const name = (split: Split, part: 'images' | 'labels'): string => `${split}-${part}.npy`;

/** The folder itself, when there is any file of this layout in it. */
export function findNpy(folder: string): string | undefined {
  const all = (['train', 'test'] as const).flatMap((split) => [
    name(split, 'images'),
    name(split, 'labels'),
  ]);
  return all.some((file) => existsSync(join(folder, file))) ? folder : undefined;
}

/** Bytes per element of the types that are read, little-endian where that matters. */
const SIZES: Readonly<Record<string, number>> = {
  ...{ '|u1': 1, '|i1': 1, '<u2': 2, '<i2': 2, '<u4': 4, '<i4': 4, '<i8': 8, '<u8': 8, '<f4': 4 },
};

interface NpyArray {
  readonly path: string;
  readonly fd: number;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Where the values begin. */
  readonly start: number;
}

function readAt(path: string, fd: number, target: Uint8Array, position: number): void {
  for (let done = 0; done < target.length;) {
    const got = readSync(fd, target, done, target.length - done, position + done);
    if (got === 0) throw bad(path, `the file ends at byte ${position + done}`);
    done += got;
  }
}

/** Opens an array and checks its header (NumPy's format 1.0 to 3.0). */
function openArray(path: string): NpyArray {
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

function readLabels(path: string): Int32Array {
  const array = openArray(path);
  try {
    const { dtype, shape, start, fd } = array;
    if (shape.length !== 1 || dtype === '<f4')
      throw bad(
        path,
        `labels are one whole number per image, not [${shape.join(', ')}] of ${dtype}`,
      );
    const bytes = Buffer.alloc((SIZES[dtype] ?? 0) * (shape[0] ?? 0));
    readAt(path, fd, bytes, start);
    const size = SIZES[dtype] ?? 1;
    const signed = dtype.includes('i');
    return Int32Array.from({ length: shape[0] ?? 0 }, (_, i) => {
      // Six bytes are as many as fit a number, and no label is larger.
      const wide = Math.min(size, 6);
      const at = i * size;
      const label = signed ? bytes.readIntLE(at, wide) : bytes.readUIntLE(at, wide);
      if (label >= 0 && label < 2 ** 31) return label;
      throw bad(path, `label ${i} is ${label}`);
    });
  } finally {
    closeSync(array.fd);
  }
}

type Layout = 'NHW' | 'NCHW' | 'NHWC';

/** Bytes may have their channels last; floats have them first. Where both would do, they are first. */
function layoutOf({ path, dtype, shape }: NpyArray, wanted: Wanted): Layout {
  if (shape.length === 3) return 'NHW';
  const [, a, b, c] = shape;
  if (shape.length !== 4) throw bad(path, `its shape is [${shape.join(', ')}], not that of images`);
  const first = a === wanted.channels && b === wanted.height && c === wanted.width;
  const last = c === wanted.channels && a === wanted.height && b === wanted.width;
  if (first || dtype === '<f4') return 'NCHW';
  if (last) return 'NHWC';
  return (c ?? 0) <= 4 && (a ?? 0) > 4 ? 'NHWC' : 'NCHW';
}

export function readNpy(folder: string, split: Split, wanted: Wanted): Dataset {
  const labels = readLabels(join(folder, name(split, 'labels')));
  const array = openArray(join(folder, name(split, 'images')));
  const { path, dtype, shape } = array;
  try {
    if (dtype !== '|u1' && dtype !== '<f4')
      throw bad(path, `its type is ${dtype}`, 'save images as uint8 or float32');
    const count = shape[0] ?? 0;
    if (count !== labels.length)
      throw bad(path, `${labels.length} labels do not belong to its ${count} images`);
    const layout = layoutOf(array, wanted);
    const [, a = 1, b = 1, c = 1] = shape;
    const [channels, height, width] =
      layout === 'NHW' ? [1, a, b] : layout === 'NCHW' ? [a, b, c] : [c, a, b];
    const size = channels * height * width;
    if (count * size === 0) throw bad(path, `[${shape.join(', ')}] holds no pixel`);
    let highest = 0;
    for (const label of labels) highest = Math.max(highest, label);
    return {
      name: `NumPy ${split} split in ${folder}`,
      ...{ count, channels, height, width, labels, classes: highest + 1 },
      images: new Uint8Array(0),
      file: new NpyFile(array, size, layout === 'NHWC' ? channels : 1),
    };
  } catch (error) {
    closeSync(array.fd);
    throw error;
  }
}

class NpyFile implements SampleFile {
  readonly floats: boolean;
  private readonly bytes: Uint8Array;
  private readonly pixels: Pixels;

  /** @param interleaved channels that lie side by side and have to be set apart; 1: none */
  constructor(
    private readonly array: NpyArray,
    size: number,
    private readonly interleaved: number,
  ) {
    this.floats = array.dtype === '<f4';
    const floats = new Float32Array(this.floats ? size : 0);
    this.bytes = this.floats ? new Uint8Array(floats.buffer) : new Uint8Array(size);
    this.pixels = this.floats ? floats : interleaved > 1 ? new Uint8Array(size) : this.bytes;
  }

  read(sample: number): Pixels {
    const { array, bytes, pixels, interleaved } = this;
    readAt(array.path, array.fd, bytes, array.start + sample * bytes.length);
    if (interleaved > 1) {
      const plane = bytes.length / interleaved;
      for (let at = 0, from = 0; at < plane; at++)
        for (let channel = 0; channel < interleaved; channel++, from++)
          pixels[channel * plane + at] = bytes[from] ?? 0;
    }
    return pixels;
  }

  close(): void {
    closeSync(this.array.fd);
  }
}
