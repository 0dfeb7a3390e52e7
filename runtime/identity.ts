// What makes a training this training. In: a compiled folder, settings, data. Out: a flat list of what a checkpoint
// must agree with to be continued. Invariant: two trainings with equal lists take the same steps, bit for bit, on the
// same machine with the same number of threads.

import { createHash } from 'node:crypto';
import { closeSync, openSync, readSync } from 'node:fs';
import { join } from 'node:path';
import { DiagnosticError } from '../src/diagnostics/index.js';
import type { Plan } from '../src/plan/index.js';

export type Identity = Readonly<Record<string, unknown>>;

const CHUNK = 2 ** 22;

function fileDigest(path: string): string {
  const hash = createHash('sha256');
  const fd = openSync(path, 'r');
  try {
    const buffer = Buffer.allocUnsafe(CHUNK);
    for (let got; (got = readSync(fd, buffer)) > 0;) hash.update(buffer.subarray(0, got));
  } finally {
    closeSync(fd);
  }
  return hash.digest('hex');
}

/** @param more settings and facts about the data, in words a message can use as names */
export function identityOf(dir: string, plan: Plan, more: Identity): Identity {
  const { train, rev } = plan.model;
  return {
    [train]: fileDigest(join(dir, train)),
    [rev]: fileDigest(join(dir, rev)),
    ...more,
  };
}

/** @throws DiagnosticError checkpoint/other that names what differs */
export function sameIdentity(theirs: Identity, ours: Identity, path: string): void {
  const names = new Set([...Object.keys(theirs), ...Object.keys(ours)]);
  const different = [...names].filter((n) => JSON.stringify(theirs[n]) !== JSON.stringify(ours[n]));
  if (different.length === 0) return;
  const files = different.filter((name) => name.endsWith('.onnx'));
  const words = (value: unknown): string =>
    value === undefined ? 'unknown' : JSON.stringify(value);
  throw files.length > 0
    ? new DiagnosticError(
        'checkpoint/other',
        path,
        `it was made with another ${files.join(' and ')}`,
      )
    : new DiagnosticError(
        'checkpoint/other',
        path,
        different.map((n) => `${n} was ${words(theirs[n])}, now ${words(ours[n])}`).join('; '),
      );
}
