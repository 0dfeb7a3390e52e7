// What the user sees. In: results. Out: the result on stdout, everything else on stderr. Invariant: with --json
// stdout holds one JSON object and nothing else.

import type { Command } from 'commander';
import { isatty } from 'node:tty';

import pc from 'picocolors';

/** Colours where a person looks at them: not in files and pipes, and not with NO_COLOR. */
export const paint = pc.createColors(isatty(1) && process.stdout.hasColors());

export interface OutputOptions {
  readonly json: boolean;
  readonly quiet: boolean;
}

/** What every command may be told about how to report. */
export interface ReportingOptions {
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export const reportingOptions = (command: Command): Command =>
  command
    .option('--json', 'print one JSON object')
    .option('--quiet', 'print nothing but the result');

export const outputOptions = (options: ReportingOptions): OutputOptions => ({
  json: options.json ?? false,
  quiet: options.quiet ?? false,
});

export const printResult = (text: string): void => void process.stdout.write(`${text}\n`);

export const printJson = (value: unknown): void => {
  printResult(JSON.stringify(value, null, 2));
};

/**
 * What stdout holds with --json when a command fails: the same fields as the message on stderr. A caller can tell
 * the two by the key "error", or by the exit code, without reading stderr.
 */
export const jsonError = (
  code: string,
  where: string,
  why: string,
  hint: string,
): { readonly error: Readonly<Record<'code' | 'where' | 'why' | 'hint', string>> } => ({
  error: { code, where, why, hint },
});

/** A remark on the way to the result. */
export function remark(text: string, { quiet }: OutputOptions): void {
  if (!quiet) process.stderr.write(`${text}\n`);
}

export function formatBytes(bytes: number): string {
  if (bytes >= 1e9) return `${(bytes / 1e9).toFixed(2)} GB`;
  if (bytes >= 1e6) return `${(bytes / 1e6).toFixed(1)} MB`;
  return `${(bytes / 1e3).toFixed(1)} kB`;
}

/** Of the blocks counted before. */
export const alreadyReversible = (count: number): string =>
  count > 0 ? `, ${count} of them already reversible` : '';

export const formatPercent = (ratio: number): string => `${(100 * ratio).toFixed(1)} %`;

export function formatCount(n: number): string {
  if (n >= 1e9) return `${(n / 1e9).toFixed(2)} G`;
  if (n >= 1e6) return `${(n / 1e6).toFixed(2)} M`;
  return n >= 1e3 ? `${(n / 1e3).toFixed(1)} k` : String(n);
}

/** Rows of cells as aligned columns; the first left, the others right. */
export function columns(
  rows: readonly (readonly string[])[],
  leftAligned: ReadonlySet<number> = new Set([0]),
): string {
  const widths: number[] = [];
  for (const row of rows)
    row.forEach((cell, i) => (widths[i] = Math.max(widths[i] ?? 0, cell.length)));
  return rows
    .map((row) =>
      row
        .map((cell, i) =>
          leftAligned.has(i) ? cell.padEnd(widths[i] ?? 0) : cell.padStart(widths[i] ?? 0),
        )
        .join('  ')
        .trimEnd(),
    )
    .join('\n');
}

/** "1 weight", "2 weights". */
export const counted = (n: number, what: string): string => `${n} ${what}${n === 1 ? '' : 's'}`;
