// Reading and fitting of data sets: byte layouts, spellings, and every way a file can be wrong.
// In: small files of the real layouts. Out: pixels and labels checked against the functions that
// wrote them. Invariant: a wrong file ends in data/invalid with the exact reason.
import { mkdirSync, rmSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, it } from 'vitest';
import { loadDataset } from '../../../runtime/data/index.js';
import type { Wanted } from '../../../runtime/data/index.js';
import {
  cifarFile,
  cifarFolder,
  cifarLabel,
  cifarPixel,
  expectBadData,
  idx,
  idxFolder,
  idxPixel,
  temporaryFolder,
} from './files.js';

const RGB32 = { channels: 3, height: 32, width: 32, classes: 10 };
const GREY28 = { channels: 1, height: 28, width: 28 };

describe('CIFAR-10 binary layout', () => {
  it('joins the five training files in order', () => {
    const data = loadDataset(cifarFolder(), 'train', RGB32);
    expect(data).toMatchObject({ count: 10, channels: 3, height: 32, width: 32, classes: 10 });
    expect([...data.labels]).toEqual(Array.from({ length: 10 }, (_, n) => cifarLabel(n)));
    const expected = Uint8Array.from({ length: 10 * 3072 }, (_, at) =>
      cifarPixel(Math.floor(at / 3072), at % 3072),
    );
    expect(Buffer.compare(data.images, expected)).toBe(0);
  });

  it('reads the test split, also from the nested folder', () => {
    const folder = temporaryFolder();
    const nested = join(folder, 'cifar-10-batches-bin');
    mkdirSync(nested);
    cifarFolder(nested);
    const data = loadDataset(folder, 'test', RGB32);
    expect(data.count).toBe(3);
    expect(data.images[3072 + 5]).toBe(cifarPixel(101, 5));
    expect(data.labels[2]).toBe(cifarLabel(102));
  });

  it('says where a truncated file ends', () => {
    const folder = cifarFolder();
    truncateSync(join(folder, 'data_batch_4.bin'), 3073 + 100);
    const load = (): unknown => loadDataset(folder, 'train', RGB32);
    expectBadData(load, /data_batch_4\.bin[^]*3173 bytes[^]*record 1 ends after 100 bytes/);
  });

  it('names a missing or empty file, and what a missing test split means', () => {
    const folder = cifarFolder();
    rmSync(join(folder, 'test_batch.bin'));
    expectBadData(() => loadDataset(folder, 'test', RGB32), /test_batch\.bin[^]*be evaluated/);
    expect(loadDataset(folder, 'train', RGB32).count).toBe(10);
    writeFileSync(join(folder, 'data_batch_2.bin'), '');
    expectBadData(() => loadDataset(folder, 'train', RGB32), /data_batch_2\.bin[^]*is empty/);
    rmSync(join(folder, 'data_batch_2.bin'));
    expectBadData(() => loadDataset(folder, 'train', RGB32), /data_batch_2\.bin[^]*is missing/);
  });

  it('refuses labels that CIFAR-10 or the model does not have', () => {
    const folder = cifarFolder();
    const few = { ...RGB32, classes: 7 };
    expectBadData(() => loadDataset(folder, 'train', few), /sample 3 has label 9[^]*7 classes/);
    // Only arrays hold more than a picture and its label.
    const load = (more: Partial<Wanted>) => (): unknown =>
      loadDataset(folder, 'train', { ...RGB32, ...more });
    const dense = { answers: { shape: [32, 32], floats: false } };
    expectBadData(load(dense), /one label per image, the loss compares with labels \[N, 32, 32\]/);
    expectBadData(load({ tokens: {} }), /takes token numbers, these are images/);
    const mask = { name: 'mask', dtype: 'bool', shape: [32] } as const;
    expectBadData(load({ sides: [mask] }), /also takes mask, these are images/);
    const bytes = cifarFile(0, 2);
    bytes[3073] = 10;
    writeFileSync(join(folder, 'data_batch_1.bin'), bytes);
    expectBadData(() => loadDataset(folder, 'train', RGB32), /record 1 has label 10/);
  });
});

describe('IDX layout', () => {
  for (const separator of ['-', '.'] as const)
    for (const packed of [false, true])
      it(`reads images${separator}idx3-ubyte${packed ? '.gz' : ''}`, () => {
        const data = loadDataset(idxFolder(separator, packed), 'train', GREY28);
        expect(data).toMatchObject({ count: 4, channels: 1, height: 28, width: 28, classes: 7 });
        expect([...data.labels]).toEqual([0, 2, 4, 6]);
        expect([...data.images]).toEqual(Array.from({ length: 4 * 784 }, (_, at) => idxPixel(at)));
      });

  it('reads t10k as the test split, and misses it clearly', () => {
    expect(loadDataset(idxFolder('-', true, 't10k'), 'test', GREY28).count).toBe(4);
    const folder = idxFolder('-', false);
    expectBadData(() => loadDataset(folder, 'test', GREY28), /t10k-images[^]*be evaluated/);
  });

  it('gives the exact reason for a wrong file', () => {
    const folder = idxFolder('-', false);
    const images = join(folder, 'train-images-idx3-ubyte');
    const labels = join(folder, 'train-labels-idx1-ubyte');
    const load = (): unknown => loadDataset(folder, 'train', GREY28);
    truncateSync(images, 16 + 3000);
    expectBadData(load, /promises 4x28x28 = 3136 bytes of images, the file holds 3000/);
    truncateSync(images, 9);
    expectBadData(load, /ends after 9 bytes, inside its 16-byte header/);
    writeFileSync(images, idx([4], new Uint8Array(784)));
    expectBadData(load, /magic number is 0x00000801, not 0x00000803/);
    writeFileSync(images, idx([3, 28, 28], new Uint8Array(3 * 784)));
    expectBadData(load, /4 labels do not belong to the 3 images/);
    writeFileSync(images, idx([0, 28, 28], new Uint8Array(0)));
    writeFileSync(labels, idx([0], new Uint8Array(0)));
    expectBadData(load, /hold no pixel/);
    rmSync(labels);
    expectBadData(load, /train-labels-idx1-ubyte is missing/);
  });

  it('refuses a damaged gzip file', () => {
    const folder = idxFolder('-', true);
    truncateSync(join(folder, 'train-images-idx3-ubyte.gz'), 100);
    expectBadData(() => loadDataset(folder, 'train', GREY28), /images[^]*not a whole gzip file/);
  });
});

describe('fitting to the model', () => {
  it('frames 28x28 in 32x32 and repeats the grey channel', () => {
    const data = loadDataset(idxFolder('-', false), 'train', RGB32);
    expect(data).toMatchObject({ count: 4, channels: 3, height: 32, width: 32 });
    const at = (n: number, c: number, y: number, x: number): number | undefined =>
      data.images[((n * 3 + c) * 32 + y) * 32 + x];
    for (let n = 0; n < 4; n++)
      for (let c = 0; c < 3; c++)
        for (let y = 0; y < 32; y++)
          for (let x = 0; x < 32; x++) {
            const inside = y >= 2 && y < 30 && x >= 2 && x < 30;
            const expected = inside ? idxPixel((n * 28 + y - 2) * 28 + x - 2) : 0;
            if (at(n, c, y, x) !== expected) expect([n, c, y, x]).toBe('a wrong pixel');
          }
  });

  it('refuses what would need resampling or a choice', () => {
    const cifar = cifarFolder();
    const wanted = (channels: number, side: number): (() => unknown) => {
      const shape = { channels, height: side, width: side };
      return () => loadDataset(cifar, 'train', shape);
    };
    expectBadData(wanted(3, 28), /3x32x32, the model takes 3x28x28: the images are larger/);
    expectBadData(wanted(3, 224), /more than 8 pixels/);
    expectBadData(wanted(1, 32), /only grey images/);
    expect(wanted(3, 40)()).toMatchObject({ height: 40, width: 40 });
    expectBadData(wanted(3, 41), /more than 8 pixels/);
  });
});

describe('other specs', () => {
  it('tells folders apart that hold no data', () => {
    const folder = temporaryFolder();
    expectBadData(() => loadDataset(join(folder, 'no'), 'train', RGB32), /no such folder/);
    expectBadData(() => loadDataset(folder, 'train', RGB32), /no CIFAR-10[^]*no IDX[^]*no NumPy/);
    writeFileSync(join(folder, 'data_batch_1'), 'pickle');
    expectBadData(() => loadDataset(folder, 'train', RGB32), /Python version/);
    const file = join(folder, 'data_batch_1');
    expectBadData(() => loadDataset(file, 'train', RGB32), /this is a file/);
  });

  it('makes the same random data of any shape every time', () => {
    const shape = { channels: 5, height: 17, width: 9, classes: 300 };
    const one = loadDataset('random', 'train', shape);
    const two = loadDataset('random', 'train', shape);
    const test = loadDataset('random', 'test', shape);
    expect(one).toMatchObject({ channels: 5, height: 17, width: 9, classes: 300, count: 4096 });
    expect(one.images.length).toBe(4096 * 5 * 17 * 9);
    expect(Buffer.compare(one.images, two.images)).toBe(0);
    expect(Buffer.compare(one.images, test.images)).not.toBe(0);
    expect([...one.labels]).toEqual([...two.labels]);
    expect(Math.max(...one.labels)).toBe(299);
    expect(Math.min(...one.labels)).toBe(0);
  });

  it('does not make the random images before they are read', () => {
    const huge = { channels: 3, height: 60_000, width: 60_000 };
    expect(loadDataset('random', 'train', huge).count).toBe(16);
  });
});
