// A safetensors file of anybody's. In: a path. Out: its tensors by name, their floats one tensor at a time. Invariant:
// a header that does not fit the file is refused before anything is read by it.

import { closeSync, fstatSync, openSync, readSync } from 'node:fs';
import { elementCount } from '../src/ir/index.js';
import { fromBfloat16, fromFloat16 } from '../src/onnx/index.js';

interface TensorEntry {
  /** As safetensors calls it: F32, BF16, I64. */
  readonly dtype: string;
  readonly shape: readonly number[];
  /** Of its bytes in the file. */
  readonly begin: number;
  readonly end: number;
}

const BYTES: Readonly<Record<string, number>> = {
  ...{ F64: 8, F32: 4, F16: 2, BF16: 2, I64: 8, I32: 4, I16: 2, I8: 1, U8: 1, BOOL: 1 },
  ...{ U16: 2, U32: 4, U64: 8, F8_E5M2: 1, F8_E4M3: 1 },
};
/** The specification's own limit. */
const MOST_HEADER = 100e6;
const METADATA = '__metadata__';

/** A file that is open; close it. */
export class TensorFile {
  constructor(
    private readonly fd: number,
    readonly metadata: Readonly<Record<string, string>>,
    readonly entries: ReadonlyMap<string, TensorEntry>,
  ) {}

  /** Elements of an F32, F16 or BF16 tensor; the narrow types have the same values in float32. */
  floats(name: string): Float32Array {
    const entry = this.entries.get(name);
    if (!entry) throw new Error(`it holds no ${name}`);
    const bytes = read(this.fd, entry.begin, entry.end - entry.begin);
    if (entry.dtype === 'F32') return new Float32Array(bytes.buffer);
    const widen = { F16: fromFloat16, BF16: fromBfloat16 }[entry.dtype];
    if (!widen) throw new Error(`${name} is ${entry.dtype}, not floats of 32 or 16 bits`);
    return Float32Array.from(new Uint16Array(bytes.buffer), widen);
  }

  close(): void {
    closeSync(this.fd);
  }
}

/** @throws Error that says what is wrong with the file */
export function openTensors(path: string): TensorFile {
  const fd = openSync(path, 'r');
  try {
    const { size } = fstatSync(fd);
    const length =
      size < 8 ? size : Number(new DataView(read(fd, 0, 8).buffer).getBigUint64(0, true));
    if (length > Math.min(size - 8, MOST_HEADER)) throw new Error('it is no safetensors file');
    return new TensorFile(
      fd,
      ...parsed(Buffer.from(read(fd, 8, length)).toString('utf8'), 8 + length, size),
    );
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function parsed(
  text: string,
  base: number,
  size: number,
): [Record<string, string>, Map<string, TensorEntry>] {
  let head: Record<string, unknown>;
  try {
    head = JSON.parse(text) as Record<string, unknown>;
  } catch {
    throw new Error('it is no safetensors file: its header is no JSON');
  }
  const { [METADATA]: about, ...rest } = head;
  const entries = new Map<string, TensorEntry>();
  for (const [name, value] of Object.entries(rest)) {
    const { dtype, shape, data_offsets: offsets } = (value ?? {}) as Record<string, unknown>;
    const isShape = (list: unknown): list is number[] =>
      Array.isArray(list) && list.every((n) => Number.isSafeInteger(n) && n >= 0);
    const width = typeof dtype === 'string' ? BYTES[dtype] : undefined;
    const fits =
      width !== undefined &&
      isShape(shape) &&
      isShape(offsets) &&
      offsets.length === 2 &&
      (offsets[1] ?? 0) - (offsets[0] ?? 0) === width * elementCount(shape);
    if (!fits) throw new Error(`its header does not say what ${name} is`);
    const [begin = 0, end = 0] = offsets.map((n) => base + n);
    if (end > size) throw new Error(`it ends before ${name} does: the file is cut off`);
    entries.set(name, { dtype: dtype as string, shape, begin, end });
  }
  return [(about ?? {}) as Record<string, string>, entries];
}

function read(fd: number, at: number, length: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(length);
  for (let done = 0; done < length;) {
    const got = readSync(fd, bytes, done, Math.min(length - done, 2 ** 30), at + done);
    if (got === 0) throw new Error(`it ends at byte ${at + done}`);
    done += got;
  }
  return bytes;
}
