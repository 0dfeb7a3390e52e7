// Work in a temporary folder. In: what to do there. Out: its result. Invariant: the folder is gone afterwards, whatever
// happened.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { measure } from '../../runtime/index.js';
import type { MeasureOptions, Measurement } from '../../runtime/index.js';
import { writeFolder } from '../../src/compiler/index.js';
import type { Compiled } from '../../src/compiler/index.js';

/** Lends a new, empty folder to `use`, then removes it. */
export async function withTemporary<T>(use: (dir: string) => Promise<T>): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), 'revnetify-bench-'));
  try {
    return await use(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Measures a compiled step in a process of its own. */
export const measureCompiled = (
  compiled: Compiled,
  options: MeasureOptions,
): Promise<Measurement> =>
  withTemporary((dir) => {
    writeFolder(compiled, dir);
    return measure(dir, options);
  });
