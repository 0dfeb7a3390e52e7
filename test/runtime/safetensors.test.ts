// The container of checkpoints: read back bit for bit, laid out as its specification says, refused when damaged.

import {
  mkdtempSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { readTensors, writeTensors } from '../../runtime/safetensors.js';

let dir: string;
let path: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), 'safetensors-'));
  path = join(dir, 'some.safetensors');
  writeTensors(path, METADATA, TENSORS);
});
afterAll(() => rmSync(dir, { recursive: true }));

const METADATA = { 'a fact': 'ünïcode "quoted"' };
const TENSORS = [
  { name: 'w', shape: [2, 3], data: Float32Array.from([0, -0, 1e-45, Infinity, NaN, -1.5]) },
  { name: 'none', shape: [0, 4], data: new Float32Array(0) },
  { name: 'layer1.0/b', shape: [], data: Float32Array.from([3]) },
];

test('what was written is read back bit for bit, and nothing else lies in the folder', () => {
  const { metadata, tensors } = readTensors(path);
  expect(metadata).toEqual(METADATA);
  expect([...tensors.values()]).toEqual(TENSORS);
  expect(Object.is(tensors.get('w')?.data[1], -0)).toBe(true);
  expect(readdirSync(dir)).toEqual(['some.safetensors']);
});

test('the layout is that of safetensors', () => {
  const file = readFileSync(path);
  const length = Number(file.readBigUInt64LE(0));
  expect((8 + length) % 8).toBe(0);
  const header = JSON.parse(file.subarray(8, 8 + length).toString()) as Record<string, unknown>;
  expect(Object.keys(header)).toEqual(['__metadata__', 'w', 'none', 'layer1.0/b']);
  expect(header['w']).toEqual({ dtype: 'F32', shape: [2, 3], data_offsets: [0, 24] });
  expect(header['layer1.0/b']).toEqual({ dtype: 'F32', shape: [], data_offsets: [24, 28] });
  expect(file.length).toBe(8 + length + 28);
  expect(file.readFloatLE(8 + length + 20)).toBe(-1.5);
});

test('every changed bit is noticed', () => {
  const good = readFileSync(path);
  const bad = join(dir, 'bad.safetensors');
  for (let at = 0; at < good.length; at++) {
    const bytes = Buffer.from(good);
    bytes.writeUInt8(bytes.readUInt8(at) ^ (1 << (at % 8)), at);
    writeFileSync(bad, bytes);
    expect(() => readTensors(bad), `byte ${at}`).toThrow();
  }
});

test('a file that ends early or late is refused', () => {
  const good = readFileSync(path);
  const bad = join(dir, 'bad.safetensors');
  for (let length = 0; length < good.length; length += 3) {
    writeFileSync(bad, good);
    truncateSync(bad, length);
    expect(() => readTensors(bad), `${length} bytes`).toThrow();
  }
  writeFileSync(bad, Buffer.concat([good, Buffer.alloc(1)]));
  expect(() => readTensors(bad)).toThrow(/holds/);
});
