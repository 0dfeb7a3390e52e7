// The log of a training. In: facts about a step. Out: one JSON object per line. Invariant: a line is written when
// its step is over, so that a training that is cut off leaves every finished step behind.

import { closeSync, openSync, writeSync } from 'node:fs';
import { DiagnosticError } from '../src/diagnostics/index.js';
import { messageOf } from './session.js';

export class JsonLines {
  private readonly fd: number;

  /** Replaces a file of that name. @throws DiagnosticError usage/output */
  constructor(path: string) {
    try {
      this.fd = openSync(path, 'w');
    } catch (error) {
      throw new DiagnosticError('usage/output', path, messageOf(error));
    }
  }

  write(line: Readonly<Record<string, unknown>>): void {
    writeSync(this.fd, `${JSON.stringify(line)}\n`);
  }

  close(): void {
    closeSync(this.fd);
  }
}
