// Reader of the IDX layout of MNIST and its relatives. In: a folder with train-images-idx3-ubyte,
// train-labels-idx1-ubyte and t10k-…, plain or .gz, with "-idx" or ".idx" in the name. Out: a
// one-channel data set. Invariant: the files hold exactly what their headers promise, and as many
// labels as images.
import type { Dataset, Split } from './dataset.js';
import { bad, findFile, readBytes } from './files.js';

const PREFIX: Record<Split, string> = { train: 'train', test: 't10k' };
type Part = 'images' | 'labels';
const DIMENSIONS: Record<Part, number> = { images: 3, labels: 1 };

function names(split: Split, part: Part): string[] {
  const stem = `${PREFIX[split]}-${part}`;
  const end = `idx${DIMENSIONS[part]}-ubyte`;
  return [`${stem}-${end}`, `${stem}.${end}`, `${stem}-${end}.gz`, `${stem}.${end}.gz`];
}

/** The folder itself, when there is any file of this layout in it. */
export function findIdx(folder: string): string | undefined {
  const all = (['train', 'test'] as const).flatMap((split) => [
    ...names(split, 'images'),
    ...names(split, 'labels'),
  ]);
  return findFile(folder, all) === undefined ? undefined : folder;
}

export function readIdx(folder: string, split: Split): Dataset {
  const pictures = readPart(folder, split, 'images');
  const answers = readPart(folder, split, 'labels');
  const [count = 0, height = 0, width = 0] = pictures.sizes;
  if (answers.sizes[0] !== count)
    throw bad(
      answers.path,
      `${answers.sizes[0] ?? 0} labels do not belong to the ${count} images of ${pictures.path}`,
    );
  if (pictures.values.length === 0)
    throw bad(pictures.path, `${count} images of ${height}x${width} hold no pixel`);
  let highest = 0;
  for (const label of answers.values) if (label > highest) highest = label;
  return {
    name: `IDX ${split} split in ${folder}`,
    count,
    channels: 1,
    height,
    width,
    classes: highest + 1,
    images: pictures.values,
    labels: answers.values,
  };
}

interface IdxFile {
  readonly path: string;
  readonly sizes: readonly number[];
  readonly values: Uint8Array;
}

function readPart(folder: string, split: Split, part: Part): IdxFile {
  const path = findFile(folder, names(split, part));
  if (path === undefined) {
    const expected = names(split, part)[0] ?? '';
    throw bad(
      folder,
      split === 'test'
        ? `${expected} is missing, and without the test split nothing can be evaluated`
        : `${expected} is missing`,
    );
  }
  const bytes = readBytes(path);
  const dimensions = DIMENSIONS[part];
  const header = 4 + 4 * dimensions;
  if (bytes.length < header)
    throw bad(path, `the file ends after ${bytes.length} bytes, inside its ${header}-byte header`);

  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  // Two zero bytes, 8 for unsigned bytes, the number of dimensions.
  const magic = 0x0800 + dimensions;
  if (view.getUint32(0) !== magic)
    throw bad(
      path,
      `the magic number is ${hex(view.getUint32(0))}, not ${hex(magic)} ` +
        `(unsigned bytes in ${dimensions} dimension${dimensions === 1 ? '' : 's'})`,
    );
  const sizes = Array.from({ length: dimensions }, (_, axis) => view.getUint32(4 + 4 * axis));
  const promised = sizes.reduce((product, size) => product * size, 1);
  const found = bytes.length - header;
  if (found !== promised)
    throw bad(
      path,
      `the header promises ${sizes.join('x')} = ${promised} bytes of ${part}, the file holds ${found}`,
      found < promised ? 'the file is truncated: fetch it again' : undefined,
    );
  return { path, sizes, values: bytes.subarray(header) };
}

function hex(value: number): string {
  return `0x${value.toString(16).padStart(8, '0')}`;
}
