// The log of a training. In: facts about steps and evaluations. Out: one line each, JSON, or CSV where the file is
// called .csv. Invariant: a line is written when its step is over, so that a training that is cut off leaves every
// finished step behind; a training that is continued cuts the log back to its checkpoint, so that no step is doubled.

import { closeSync, fstatSync, fsyncSync, ftruncateSync, openSync, writeSync } from 'node:fs';
import { DiagnosticError } from '../src/diagnostics/index.js';
import type { Evaluation } from './evaluate.js';
import { messageOf } from './session.js';

export interface StepRow {
  /** Counted from 1. */
  readonly step: number;
  /** Counted from 0. */
  readonly epoch: number;
  readonly loss: number;
  /** Absent where the loss is a squared error. */
  readonly accuracy?: number;
  readonly learningRate: number;
  /** Of the whole step. */
  readonly seconds: number;
  /** Of these, waiting for data. */
  readonly waited: number;
}

export interface EvaluationRow {
  /** The step it came after. */
  readonly step: number;
  readonly evaluation: Evaluation;
}

const STEP_COLUMNS = ['step', 'epoch', 'loss', 'accuracy', 'learningRate', 'seconds', 'waited'];
const EVALUATION_COLUMNS = ['samples', 'correct', 'accuracy', 'labels', 'loss'] as const;

type Format = (row: StepRow | EvaluationRow) => string;

const json: Format = (row) => JSON.stringify(row);

/** Step rows leave the last columns empty, evaluation rows all but the first and the last. */
const csv: Format = (row) => {
  const evaluation = 'evaluation' in row ? row.evaluation : undefined;
  const cells = evaluation ? { step: row.step } : { ...row };
  return [
    ...STEP_COLUMNS.map((name) => (cells as Readonly<Record<string, number | undefined>>)[name]),
    ...EVALUATION_COLUMNS.map((name) => evaluation?.[name]),
  ].join(',');
};

const CSV_HEADER = [
  ...STEP_COLUMNS,
  ...EVALUATION_COLUMNS.map((name) => `test${name.charAt(0).toUpperCase()}${name.slice(1)}`),
].join(',');

export class TrainingLog {
  private readonly format: Format;
  private length: number;

  private constructor(
    private readonly fd: number,
    path: string,
    continued: number | undefined,
  ) {
    const table = path.toLowerCase().endsWith('.csv');
    this.format = table ? csv : json;
    this.length = continued ?? 0;
    if (continued === undefined && table) this.append(CSV_HEADER);
  }

  /**
   * Replaces a file of that name, or continues it.
   * @param continued length at the checkpoint; what was written later is cut off
   * @throws DiagnosticError usage/output
   */
  static open(path: string, continued?: number): TrainingLog {
    try {
      if (continued === undefined) return new TrainingLog(openSync(path, 'w'), path, undefined);
      const fd = openSync(path, 'r+');
      const { size } = fstatSync(fd);
      if (size < continued) {
        closeSync(fd);
        throw new Error(`it has ${size} bytes, at the checkpoint it had ${continued}`);
      }
      ftruncateSync(fd, continued);
      return new TrainingLog(fd, path, continued);
    } catch (error) {
      const hint =
        continued === undefined
          ? undefined
          : 'put the log back that the training had, or name a new one without --resume';
      throw new DiagnosticError('usage/output', path, messageOf(error), hint);
    }
  }

  write(row: StepRow | EvaluationRow): void {
    this.append(this.format(row));
  }

  /** Brings the log to disk. @returns its length in bytes */
  sync(): number {
    fsyncSync(this.fd);
    return this.length;
  }

  close(): void {
    closeSync(this.fd);
  }

  private append(line: string): void {
    const bytes = Buffer.from(`${line}\n`);
    writeSync(this.fd, bytes, 0, bytes.length, this.length);
    this.length += bytes.length;
  }
}
