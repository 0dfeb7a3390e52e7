// Data sets of NumPy arrays. In: a folder with train-images.npy, train-labels.npy, test-images.npy and test-labels.npy,
// and what the model and its loss take. Out: a data set whose pixels and answers stay in their files. Invariant: as many
// answers as images; the shapes are those the model takes, but for axes of extent 1 in answers.

import { closeSync, existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Dataset, SampleFile, SideInput, Split, Wanted } from './dataset.js';
import { bad } from './files.js';
import { NpyFile, describeArray, isFloats, openArray } from './npy.js';
import type { NpyArray } from './npy.js';

/** What a file may be called: pixels or token numbers, labels or targets. */
const PARTS = { images: ['images', 'ids'], labels: ['labels', 'targets'] } as const;

const candidates = (folder: string, split: Split, part: keyof typeof PARTS): string[] =>
  PARTS[part].map((name) => join(folder, `${split}-${name}.npy`));

/** The folder itself, when there is any file of this layout in it. */
export function findNpy(folder: string): string | undefined {
  const all = (['train', 'test'] as const).flatMap((split) => [
    ...candidates(folder, split, 'images'),
    ...candidates(folder, split, 'labels'),
  ]);
  return all.some((file) => existsSync(file)) ? folder : undefined;
}

/** @throws DiagnosticError data/invalid */
function open(folder: string, split: Split, part: keyof typeof PARTS): NpyArray {
  const paths = candidates(folder, split, part);
  return openArray(paths.find((path) => existsSync(path)) ?? paths[0] ?? '');
}

/** Runs a reader that keeps the file open, and closes it where that fails. */
function using<T>(array: NpyArray, body: (array: NpyArray) => T): T {
  try {
    return body(array);
  } catch (error) {
    closeSync(array.fd);
    throw error;
  }
}

const product = (shape: readonly number[]): number => shape.reduce((n, d) => n * d, 1);

/** Equal but for axes of extent 1: [H, W] for [1, H, W], and the other way round. */
function alike(a: readonly number[], b: readonly number[]): boolean {
  const long = (shape: readonly number[]): string => shape.filter((d) => d !== 1).join();
  return long(a) === long(b);
}

const text = (shape: readonly number[]): string => `[${['N', ...shape].join(', ')}]`;

function readLabels(array: NpyArray): Int32Array {
  const [count = 0] = array.shape;
  if (array.shape.length === 0 || product(array.shape) !== count || isFloats(array))
    throw bad(array.path, `labels are one whole number per image, not ${describeArray(array)}`);
  const file = new NpyFile(array, { size: count, dtype: 'int32' });
  const labels = file.read(0) as Int32Array;
  file.close();
  return labels;
}

function readAnswers(array: NpyArray, wanted: NonNullable<Wanted['answers']>): SampleFile {
  const { shape, floats } = wanted;
  if (!alike(array.shape.slice(1), shape) || array.shape.length < 1 || isFloats(array) !== floats)
    throw bad(
      array.path,
      `the loss compares with ${floats ? 'floats' : 'whole numbers'} ${text(shape)}, this is ${describeArray(array)}`,
      floats
        ? "save float32 or float64 targets in the shape of the model's output"
        : "save one integer label per position of the model's output",
    );
  return new NpyFile(array, { size: product(shape), dtype: floats ? 'float32' : 'int32' });
}

type Layout = 'NHW' | 'NCHW' | 'NHWC';

/** Bytes may have their channels last; floats have them first. Where both would do, they are first. */
function layoutOf(array: NpyArray, wanted: Wanted): Layout {
  const { path, dtype, shape } = array;
  if (shape.length === 3) return 'NHW';
  const [, a, b, c] = shape;
  if (shape.length !== 4) throw bad(path, `its shape is [${shape.join(', ')}], not that of images`);
  const first = a === wanted.channels && b === wanted.height && c === wanted.width;
  const last = c === wanted.channels && a === wanted.height && b === wanted.width;
  if (first || dtype === '<f4') return 'NCHW';
  if (last) return 'NHWC';
  return (c ?? 0) <= 4 && (a ?? 0) > 4 ? 'NHWC' : 'NCHW';
}

type Images = Pick<Dataset, 'channels' | 'height' | 'width'> & { readonly file: SampleFile };

function readImages(array: NpyArray, wanted: Wanted): Images {
  const { path, dtype, shape } = array;
  if (dtype !== '|u1' && dtype !== '<f4')
    throw bad(path, `its type is ${dtype}`, 'save images as uint8 or float32');
  const own = wanted.shape?.join() === shape.slice(1).join();
  const layout = own ? 'NCHW' : layoutOf(array, wanted);
  const [, a = 1, b = 1, c = 1] = shape;
  const [channels, height, width] = own
    ? [wanted.channels, wanted.height, wanted.width]
    : layout === 'NHW'
      ? [1, a, b]
      : layout === 'NCHW'
        ? [a, b, c]
        : [c, a, b];
  const size = channels * height * width;
  if (size === 0 || shape[0] === 0) throw bad(path, `[${shape.join(', ')}] holds no pixel`);
  const interleaved = layout === 'NHWC' ? channels : 1;
  const kind = dtype === '<f4' ? 'float32' : 'uint8';
  return {
    channels,
    height,
    width,
    file: new NpyFile(array, { size, dtype: kind, interleaved }),
  };
}

function readTokens(array: NpyArray, wanted: Wanted): Images {
  const shape = wanted.shape ?? [wanted.channels, wanted.height, wanted.width];
  if (isFloats(array) || array.shape.slice(1).join() !== shape.join())
    throw bad(
      array.path,
      `the model takes whole numbers ${text(shape)}, this is ${describeArray(array)}`,
      'save token numbers as integers, in sequences of the length that the model was compiled for',
    );
  const { channels, height, width } = wanted;
  return {
    channels,
    height,
    width,
    file: new NpyFile(array, { size: product(shape), dtype: 'int32' }),
  };
}

function openSide(folder: string, split: Split, side: SideInput): NpyFile {
  const { name, shape, dtype } = side;
  const file = `${split}-${name}.npy`;
  const path = join(folder, file);
  if (!existsSync(path))
    throw bad(
      folder,
      `the model also takes ${name}, ${dtype} ${text(shape)}, and there is no ${file}`,
      `save one ${dtype} array of that shape as ${file}`,
    );
  return using(openArray(path), (array) => {
    const floats = dtype === 'float32';
    if (array.shape.slice(1).join() !== shape.join() || isFloats(array) !== floats)
      throw bad(path, `the model takes ${dtype} ${text(shape)}, this is ${describeArray(array)}`);
    return new NpyFile(array, { size: product(shape), dtype: floats ? 'float32' : 'int32' });
  });
}

/** What the model takes beside the images, one array each. */
function readSides(
  folder: string,
  split: Split,
  { sides = [] }: Wanted,
  count: number,
): Map<string, SampleFile> {
  const open = new Map<string, NpyFile>();
  try {
    for (const side of sides) {
      const file = openSide(folder, split, side);
      open.set(side.name, file);
      if (file.count !== count)
        throw bad(file.path, `its ${file.count} samples do not belong to ${count} images`);
    }
    return open;
  } catch (error) {
    for (const file of open.values()) file.close();
    throw error;
  }
}

/** @throws DiagnosticError data/invalid */
export function readNpy(folder: string, split: Split, wanted: Wanted): Dataset {
  const { answers: asked } = wanted;
  const labelArray = open(folder, split, 'labels');
  const answers = using(labelArray, (array) =>
    asked ? readAnswers(array, asked) : readLabels(array),
  );
  const labels = answers instanceof Int32Array ? answers : new Int32Array(0);
  const [labelled = 0] = labelArray.shape;
  let sides: Map<string, SampleFile> | undefined;
  try {
    sides = readSides(folder, split, wanted, labelled);
    const images = using(open(folder, split, 'images'), (array) => {
      const count = array.shape[0] ?? 0;
      if (count !== labelled)
        throw bad(array.path, `${labelled} labels do not belong to its ${count} images`);
      return wanted.tokens ? readTokens(array, wanted) : readImages(array, wanted);
    });
    return {
      name: `NumPy ${split} split in ${folder}`,
      count: labelled,
      classes: asked ? (wanted.classes ?? 0) : highest(labels) + 1,
      images: new Uint8Array(0),
      ...images,
      labels,
      sides,
      ...(answers instanceof Int32Array ? {} : { answers }),
    };
  } catch (error) {
    if (!(answers instanceof Int32Array)) answers.close();
    for (const side of sides?.values() ?? []) side.close();
    throw error;
  }
}

const highest = (labels: Int32Array): number => labels.reduce((a, b) => Math.max(a, b), 0);
