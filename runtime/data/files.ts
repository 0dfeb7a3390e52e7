// Reading of data files. In: a folder and the names a file may have. Out: the bytes, unpacked where
// the file is gzipped. Invariant: whatever goes wrong on the way is a data/invalid diagnostic that
// names the file.
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync } from 'node:zlib';
import { DiagnosticError } from '../../src/diagnostics/index.js';

/** The diagnostic all of this folder throws. */
export function bad(where: string, why: string, hint?: string): DiagnosticError {
  return new DiagnosticError('data/invalid', where, why, hint);
}

function reasonOf(error: unknown): string {
  return error instanceof Error ? error.message : String(error);
}

/** The first of the names that exists in the folder. */
export function findFile(folder: string, names: readonly string[]): string | undefined {
  return names.map((name) => join(folder, name)).find((path) => existsSync(path));
}

/** All bytes of a file; a name ending in .gz is unpacked. */
export function readBytes(path: string): Uint8Array {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw bad(path, `the file cannot be read: ${reasonOf(error)}`);
  }
  if (!path.endsWith('.gz')) return bytes;
  try {
    return gunzipSync(bytes);
  } catch (error) {
    throw bad(path, `the file is not a whole gzip file: ${reasonOf(error)}`);
  }
}
