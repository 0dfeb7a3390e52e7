// NumPy arrays as data: the three layouts and two types, read sample by sample, and what is refused.

import { truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, describe, expect, it } from 'vitest';
import {
  evaluationBatches,
  loadDataset,
  measureNormalisation,
} from '../../../runtime/data/index.js';
import type { Dataset } from '../../../runtime/data/index.js';
import { pixelsOf } from '../../../runtime/data/dataset.js';
import { expectBadData, npy, temporaryFolder } from './files.js';

const WANTED = { channels: 3, height: 4, width: 5, classes: 10 };
const COUNT = 6;
const SIZE = 60;

const value = (sample: number, c: number, y: number, x: number): number =>
  (sample * 97 + c * 31 + y * 7 + x) % 256;
const nchw = Uint8Array.from({ length: COUNT * SIZE }, (_, i) =>
  value(Math.floor(i / 60), Math.floor(i / 20) % 3, Math.floor(i / 5) % 4, i % 5),
);
const nhwc = Uint8Array.from({ length: COUNT * SIZE }, (_, i) =>
  value(Math.floor(i / 60), i % 3, Math.floor(i / 15) % 4, Math.floor(i / 3) % 5),
);
const floats = Float32Array.from(nchw, (v) => v / 64 - 1.7);
const labels = BigInt64Array.from([3n, 1n, 9n, 0n, 0n, 2n]);

function folder(
  images: Buffer,
  answers = npy('<i8', [COUNT], new Uint8Array(labels.buffer)),
): string {
  const at = temporaryFolder();
  for (const split of ['train', 'test']) {
    writeFileSync(join(at, `${split}-images.npy`), images);
    writeFileSync(join(at, `${split}-labels.npy`), answers);
  }
  return at;
}

const open: Dataset[] = [];
afterEach(() => {
  for (const data of open.splice(0)) data.file?.close();
});
function load(at: string, split: 'train' | 'test' = 'train', wanted = WANTED): Dataset {
  const data = loadDataset(at, split, wanted);
  open.push(data);
  return data;
}

describe('NumPy arrays', () => {
  it.each([
    ['channels first', npy('|u1', [COUNT, 3, 4, 5], nchw)],
    ['channels last', npy('|u1', [COUNT, 4, 5, 3], nhwc)],
  ])('bytes, %s', (_, file) => {
    const data = load(folder(file));
    expect(data).toMatchObject({ count: COUNT, channels: 3, height: 4, width: 5, classes: 10 });
    expect([...data.labels]).toEqual([...labels].map(Number));
    for (const sample of [5, 0, 3])
      expect([...pixelsOf(data, sample)]).toEqual([...nchw.slice(sample * 60, sample * 60 + 60)]);
    // The same numbers as for pixels in memory.
    const memory = { ...data, images: nchw };
    delete (memory as { file?: unknown }).file;
    expect(measureNormalisation(data)).toEqual(measureNormalisation(memory));
  });

  it('grey images without a channel axis', () => {
    const wanted = { channels: 1, height: 12, width: 5, classes: 10 };
    const data = load(folder(npy('|u1', [COUNT, 12, 5], nchw)), 'test', wanted);
    expect(data).toMatchObject({ channels: 1, height: 12, width: 5 });
    expect([...pixelsOf(data, 1)]).toEqual([...nchw.slice(60, 120)]);
  });

  it('floats as they are', () => {
    const data = load(folder(npy('<f4', [COUNT, 3, 4, 5], new Uint8Array(floats.buffer))));
    const normalise = measureNormalisation(data);
    expect(normalise).toEqual({ mean: [0, 0, 0], std: [1, 1, 1] });
    const [first] = evaluationBatches(data, COUNT, normalise);
    expect(first?.images).toEqual(floats);
    expect(first?.labels).toEqual(labels);
  });

  it.each<[string, string, number[], Uint8Array]>([
    ['bytes', '|u1', [COUNT], Uint8Array.from([3, 1, 9, 0, 0, 2])],
    ['a column', '|i1', [COUNT, 1], Uint8Array.from([3, 1, 9, 0, 0, 2])],
    ['int32', '<i4', [COUNT], new Uint8Array(Int32Array.from([3, 1, 9, 0, 0, 2]).buffer)],
  ])('labels as %s', (_, dtype, shape, bytes) => {
    const data = load(folder(npy('|u1', [COUNT, 3, 4, 5], nchw), npy(dtype, shape, bytes)));
    expect([...data.labels]).toEqual([3, 1, 9, 0, 0, 2]);
  });
});

describe('refused', () => {
  const good = npy('|u1', [COUNT, 3, 4, 5], nchw);
  it.each<[string, Buffer, RegExp]>([
    ['doubles', npy('<f8', [COUNT, 3, 4, 5], new Uint8Array(8 * nchw.length)), /type is <f8/],
    ['Fortran order', npy('|u1', [COUNT, 3, 4, 5], nchw, 'True'), /Fortran order/],
    ['too short', good.subarray(0, good.length - 1), /promises .* = 360 bytes, the file holds 359/],
    ['no array', Buffer.from('no array at all'), /no \.npy file/],
    [
      'another shape',
      npy('|u1', [COUNT, 3, 5, 4], nchw),
      /images are 3x5x4, the model takes 3x4x5/,
    ],
    ['other labels', npy('|u1', [3, 3, 8, 5], nchw), /6 labels do not belong to its 3 images/],
    ['a vector', npy('|u1', [COUNT, 60], nchw), /not that of images/],
  ])('%s', (_, file, why) => {
    expectBadData(() => load(folder(file)), why);
  });

  it('labels that are none', () => {
    const bad = [
      npy('<f4', [COUNT], new Uint8Array(24)),
      npy('<i4', [COUNT], new Uint8Array(Int32Array.from([0, 0, -1, 0, 0, 0]).buffer)),
    ];
    for (const answers of bad) expectBadData(() => load(folder(good, answers)), /label/);
  });

  it('a file that is cut off while it is read', () => {
    const at = folder(good);
    const data = load(at);
    truncateSync(join(at, 'train-images.npy'), good.length - 10);
    expectBadData(() => pixelsOf(data, COUNT - 1), /the file ends at byte/);
  });
});
