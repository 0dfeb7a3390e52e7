// Small data files for the tests of this folder. In: a temporary folder and a few numbers. Out:
// files of the real byte layouts. Invariant: every pixel is a function of its place, so that a
// reader that mixes up records, planes or rows is found out.
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { gzipSync } from 'node:zlib';
import { afterEach, expect } from 'vitest';
import { DiagnosticError } from '../../../src/diagnostics/index.js';

const made: string[] = [];
afterEach(() => {
  for (const folder of made.splice(0)) rmSync(folder, { recursive: true, force: true });
});

export function temporaryFolder(): string {
  const folder = mkdtempSync(join(tmpdir(), 'data-test-'));
  made.push(folder);
  return folder;
}

export const cifarPixel = (record: number, at: number): number => (record * 41 + at * 7) % 251;
export const cifarLabel = (record: number): number => (record * 3) % 10;

/** Records first … first + count - 1 of an imagined data set. */
export function cifarFile(first: number, count: number): Uint8Array {
  const bytes = new Uint8Array(count * 3073);
  for (let record = 0; record < count; record++) {
    bytes[record * 3073] = cifarLabel(first + record);
    for (let at = 0; at < 3072; at++)
      bytes[record * 3073 + 1 + at] = cifarPixel(first + record, at);
  }
  return bytes;
}

/** Two records a file. */
export function cifarFolder(folder = temporaryFolder()): string {
  for (let part = 1; part <= 5; part++)
    writeFileSync(join(folder, `data_batch_${part}.bin`), cifarFile(2 * (part - 1), 2));
  writeFileSync(join(folder, 'test_batch.bin'), cifarFile(100, 3));
  return folder;
}

export function idx(sizes: readonly number[], values: Uint8Array): Uint8Array {
  const header = new DataView(new ArrayBuffer(4 + 4 * sizes.length));
  header.setUint32(0, 0x0800 + sizes.length);
  sizes.forEach((size, axis) => header.setUint32(4 + 4 * axis, size));
  return Buffer.concat([new Uint8Array(header.buffer), values]);
}

export const idxPixel = (at: number): number => (at * 13 + 5) % 256;

/** Four images of 28x28 with labels 0, 2, 4, 6, under the given spelling. */
export function idxFolder(separator: '-' | '.', packed: boolean, prefix = 'train'): string {
  const folder = temporaryFolder();
  const images = idx(
    [4, 28, 28],
    Uint8Array.from({ length: 4 * 784 }, (_, at) => idxPixel(at)),
  );
  const labels = idx([4], Uint8Array.from([0, 2, 4, 6]));
  const put = (name: string, bytes: Uint8Array): void => {
    writeFileSync(join(folder, packed ? `${name}.gz` : name), packed ? gzipSync(bytes) : bytes);
  };
  put(`${prefix}-images${separator}idx3-ubyte`, images);
  put(`${prefix}-labels${separator}idx1-ubyte`, labels);
  return folder;
}

/** Fails unless the action throws data/invalid with a message that matches. */
export function expectBadData(action: () => unknown, message: RegExp): void {
  let caught: unknown;
  try {
    action();
  } catch (error) {
    caught = error;
  }
  expect(caught).toBeInstanceOf(DiagnosticError);
  if (!(caught instanceof DiagnosticError)) return;
  expect(caught.code).toBe('data/invalid');
  expect(caught.message).toMatch(message);
}

/** As numpy.save writes it, format 1.0. */
export function npy(
  dtype: string,
  shape: readonly number[],
  bytes: Uint8Array,
  order = 'False',
): Buffer {
  const tuple = shape.length === 1 ? `${shape.join()},` : shape.join(', ');
  const text = `{'descr': '${dtype}', 'fortran_order': ${order}, 'shape': (${tuple}), }`;
  const padded = `${text}${' '.repeat(63 - ((10 + text.length) % 64))}\n`;
  const head = Buffer.from(`\u0093NUMPY\u0001\u0000\u0000\u0000${padded}`, 'latin1');
  head.writeUInt16LE(padded.length, 8);
  return Buffer.concat([head, bytes]);
}
