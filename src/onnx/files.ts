// Files: positioned reads and atomic writes. Invariant: a reader of a path never sees a half-written file, a
// failed write leaves nothing behind, and a file that changed after it was opened is noticed before its bytes
// are believed.

import { randomBytes } from 'node:crypto';
import {
  closeSync,
  fstatSync,
  fsyncSync,
  openSync,
  readSync,
  renameSync,
  rmSync,
  writeSync,
} from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { DiagnosticError } from '../diagnostics/index.js';
import { damaged } from './wire.js';
import type { ByteSource } from './wire.js';

const WINDOW = 16 * 1024;

/** A file as a source of bytes. Opened for each read, or for the time of a call of `held`. */
export class FileSource implements ByteSource {
  readonly size: number;
  private readonly stamp: string;
  private fd: number | undefined;
  private cached: { bytes: Uint8Array; base: number } = { bytes: new Uint8Array(0), base: 0 };

  /** @throws the error of the file system where the file cannot be opened */
  constructor(
    readonly path: string,
    readonly label = path,
  ) {
    const fd = openSync(path, 'r');
    try {
      const stat = fstatSync(fd);
      if (!stat.isFile()) throw Object.assign(new Error('not a file'), { code: 'EISDIR' });
      this.size = stat.size;
      this.stamp = stampOf(stat);
    } finally {
      closeSync(fd);
    }
  }

  /** Keeps the file open during a call that reads often. */
  held<T>(body: () => T): T {
    if (this.fd !== undefined) return body();
    this.fd = this.open();
    try {
      return body();
    } finally {
      closeSync(this.fd);
      this.fd = undefined;
    }
  }

  read(offset: number, length: number): Uint8Array {
    const { bytes, base } = this.cached;
    if (offset >= base && offset + length <= base + bytes.length)
      return bytes.slice(offset - base, offset - base + length);
    if (length > WINDOW / 2) return this.fetch(offset, length);
    const window = this.window(offset);
    return window.bytes.slice(offset - window.base, offset - window.base + length);
  }

  window(at: number): { bytes: Uint8Array; base: number } {
    const { bytes, base } = this.cached;
    const enough = Math.min(at + WINDOW / 2, this.size);
    if (at < base || enough > base + bytes.length)
      this.cached = { bytes: this.fetch(at, Math.min(WINDOW, this.size - at)), base: at };
    return this.cached;
  }

  private open(): number {
    let fd: number;
    try {
      fd = openSync(this.path, 'r');
    } catch {
      throw damaged(this, 'the file is no longer there');
    }
    if (stampOf(fstatSync(fd)) === this.stamp) return fd;
    closeSync(fd);
    throw damaged(this, 'the file has changed since it was read');
  }

  private fetch(offset: number, length: number): Uint8Array {
    return this.held(() => {
      const out = Buffer.allocUnsafeSlow(length);
      let done = 0;
      while (done < length && this.fd !== undefined) {
        const got = readSync(this.fd, out, done, Math.min(length - done, 2 ** 30), offset + done);
        if (got === 0) throw damaged(this, `the file ends at byte ${offset + done}`);
        done += got;
      }
      return new Uint8Array(out.buffer, out.byteOffset, length);
    });
  }
}

const stampOf = (stat: { size: number; mtimeMs: number; ino: number }): string =>
  `${stat.size}/${stat.mtimeMs}/${stat.ino}`;

type Body = (write: (b: Uint8Array) => void) => void;

/**
 * Writes files in pieces, so that each appears under its name whole or not at all, and all of them or none.
 * @param files the last one may refer to the others: it is never seen with others than its own
 */
export function atomicWriteAll(files: readonly { readonly path: string; body: Body }[]): void {
  const written: { path: string; temporary: string }[] = [];
  let at = '';
  try {
    for (const { path, body } of files) {
      at = path;
      written.push({ path, temporary: writeTemporary(path, body) });
    }
    if (files.length > 1) rmSync(at, { force: true });
    for (const { path, temporary } of written) {
      at = path;
      renameSync(temporary, path);
    }
  } catch (error) {
    for (const { temporary } of written) rmSync(temporary, { force: true });
    if (error instanceof Error && 'syscall' in error)
      throw new DiagnosticError('usage/output', at, error.message);
    throw error;
  }
}

/** The same for one file. */
export const atomicWriteWith = (path: string, body: Body): void => {
  atomicWriteAll([{ path, body }]);
};

/** Small pieces are written together: a graph has some for every node. */
class Gathered {
  private readonly buffer = new Uint8Array(1 << 18);
  private filled = 0;

  constructor(private readonly write: (bytes: Uint8Array) => void) {}

  add(bytes: Uint8Array): void {
    if (this.filled + bytes.length > this.buffer.length) this.flush();
    if (bytes.length > this.buffer.length / 4) {
      this.flush();
      this.write(bytes);
    } else {
      this.buffer.set(bytes, this.filled);
      this.filled += bytes.length;
    }
  }

  flush(): void {
    if (this.filled > 0) this.write(this.buffer.subarray(0, this.filled));
    this.filled = 0;
  }
}

/** A new file beside `path` with the content meant for it; nothing is left if that fails. */
function writeTemporary(path: string, body: Body): string {
  const temporary = join(dirname(path), `.${basename(path)}.${randomBytes(6).toString('hex')}.tmp`);
  let fd: number | undefined;
  let made = false;
  try {
    const file = openSync(temporary, 'wx');
    fd = file;
    made = true;
    const writer = new Gathered((bytes) => {
      for (let at = 0; at < bytes.length;)
        at += writeSync(file, bytes, at, Math.min(bytes.length - at, 2 ** 30));
    });
    body((bytes) => {
      writer.add(bytes);
    });
    writer.flush();
    fsyncSync(file);
    fd = undefined;
    closeSync(file);
    return temporary;
  } catch (error) {
    if (fd !== undefined) closeSync(fd);
    if (made) rmSync(temporary, { force: true });
    throw error;
  }
}

/** Writes a file so that it appears under its name whole or not at all. @throws DiagnosticError usage/output */
export function atomicWrite(path: string, content: Uint8Array | string): void {
  const bytes = typeof content === 'string' ? Buffer.from(content, 'utf8') : content;
  atomicWriteWith(path, (write) => write(bytes));
}
