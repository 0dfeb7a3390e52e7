// Reader of the CIFAR-10 binary layout. In: the folder with data_batch_1.bin … data_batch_5.bin and
// test_batch.bin, or the folder around it. Out: a 3x32x32 data set. A record is one label byte and
// 3072 pixel bytes, red, green and blue plane in turn, which is NCHW already. Invariant: a file
// that is not a whole number of records, or has a label above 9, is refused.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { Dataset, Split } from './dataset.js';
import { bad, readBytes } from './files.js';

const SIDE = 32;
const PIXELS = 3 * SIDE * SIDE;
const RECORD = 1 + PIXELS;
const CLASSES = 10;
const FILES: Record<Split, readonly string[]> = {
  train: [1, 2, 3, 4, 5].map((part) => `data_batch_${part}.bin`),
  test: ['test_batch.bin'],
};
const NESTED = 'cifar-10-batches-bin';

/** The folder that holds the files, when there is any file of this layout. */
export function findCifar(folder: string): string | undefined {
  const names = [...FILES.train, ...FILES.test];
  return [folder, join(folder, NESTED)].find((candidate) =>
    names.some((name) => existsSync(join(candidate, name))),
  );
}

export function readCifar(folder: string, split: Split): Dataset {
  const paths = FILES[split].map((name) => join(folder, name));
  const missing = paths.find((path) => !existsSync(path));
  if (missing !== undefined)
    throw split === 'test'
      ? bad(missing, 'the file is missing, and without the test split nothing can be evaluated')
      : bad(
          missing,
          'the file is missing; the training split is data_batch_1.bin to data_batch_5.bin',
        );

  const parts = paths.map((path) => {
    const bytes = readBytes(path);
    checkLength(path, bytes.length);
    return { path, bytes };
  });
  const count = parts.reduce((sum, part) => sum + part.bytes.length / RECORD, 0);
  const images = new Uint8Array(count * PIXELS);
  const labels = new Uint8Array(count);
  let sample = 0;
  for (const { path, bytes } of parts) {
    for (let at = 0; at < bytes.length; at += RECORD, sample++) {
      const label = bytes[at] ?? 0;
      if (label >= CLASSES)
        throw bad(
          path,
          `record ${at / RECORD} has label ${label}; CIFAR-10 labels are 0 to ${CLASSES - 1}`,
        );
      labels[sample] = label;
      images.set(bytes.subarray(at + 1, at + RECORD), sample * PIXELS);
    }
  }
  return {
    name: `CIFAR-10 ${split} split in ${folder}`,
    count,
    channels: 3,
    height: SIDE,
    width: SIDE,
    classes: CLASSES,
    images,
    labels,
  };
}

function checkLength(path: string, length: number): void {
  if (length === 0) throw bad(path, 'the file is empty');
  const rest = length % RECORD;
  if (rest !== 0)
    throw bad(
      path,
      `${length} bytes are not a whole number of ${RECORD}-byte CIFAR-10 records: ` +
        `record ${Math.floor(length / RECORD)} ends after ${rest} bytes`,
      'the file may be truncated, or belong to CIFAR-100: fetch the binary version of CIFAR-10 again',
    );
}
