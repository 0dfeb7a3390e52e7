// A compiled step in a temporary folder. In: a compiled model. Out: what was done with the folder. Invariant: the
// folder is gone afterwards, whatever happened.

import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { measure } from '../../runtime/index.js';
import type { MeasureOptions, Measurement } from '../../runtime/index.js';
import { writeFolder } from '../../src/compiler/index.js';
import type { Compiled } from '../../src/compiler/index.js';

/** Writes the three files into a new folder, lends it to `use`, removes it. */
export async function withFolder<T>(
  compiled: Compiled,
  use: (dir: string) => Promise<T>,
): Promise<T> {
  const dir = mkdtempSync(join(tmpdir(), 'revnetify-bench-'));
  try {
    writeFolder(compiled, dir);
    return await use(dir);
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

/** Measures a compiled step in a process of its own. */
export const measureCompiled = (
  compiled: Compiled,
  options: MeasureOptions,
): Promise<Measurement> => withFolder(compiled, (dir) => measure(dir, options));
