// The process that runs fuzz cases (see fuzz.test.ts). In: messages with a kind and a seed. Out: how each ended, and the
// largest memory of the process so far. As a command it runs one case where its stack can be seen:
//     node dist/test/fuzz/worker.js graphs 12345 [file to write the model to]

import { writeFileSync } from 'node:fs';
import { makeCase } from './cases.js';
import type { Kind } from './cases.js';
import { checkCase } from './check.js';

export interface FuzzJob {
  readonly kind: Kind;
  readonly seed: number;
}

export interface FuzzAnswer {
  /** ok, or the code of a message; undefined: it crashed. */
  readonly outcome: string | undefined;
  readonly stack: string;
  readonly fileBytes: number;
  /** Highest resident size of the process, bytes. */
  readonly peakBytes: number;
}

function answer({ kind, seed }: FuzzJob): FuzzAnswer {
  const { bytes, random } = makeCase(kind, seed);
  const result = (outcome: string | undefined, stack = ''): FuzzAnswer => ({
    outcome,
    stack,
    fileBytes: bytes.length,
    peakBytes: process.resourceUsage().maxRSS * 1024,
  });
  try {
    return result(checkCase(bytes, random));
  } catch (error) {
    return result(
      undefined,
      error instanceof Error ? (error.stack ?? error.message) : String(error),
    );
  }
}

const [kind, seed, path] = process.argv.slice(2);
if (kind !== undefined) {
  const { bytes, random } = makeCase(kind as Kind, Number(seed));
  if (path !== undefined) writeFileSync(path, bytes);
  console.log(checkCase(bytes, random));
} else {
  process.once('disconnect', () => process.exit());
  process.on('message', (job) => process.send?.(answer(job as FuzzJob)));
}
