// What every benchmark's command line shares. In: arguments. Out: one JSON object on stdout with --json, else
// Markdown; progress on stderr. Invariant: a failure ends in one message and an exit code other than 0.

import { Command } from 'commander';
import { oneOf, positiveInteger, wholeNumber } from '../../src/cli/parse.js';
import { DiagnosticError } from '../../src/diagnostics/index.js';

/** Exit status of a benchmark whose claim did not hold, and of one that could not be run. */
export const EXIT_CLAIM_FAILED = 1;
const EXIT_BROKEN = 2;

/** A command with the options of all benchmarks: --json and --threads. */
export const benchmark = (name: string, description: string): Command =>
  new Command(name)
    .description(description)
    .option('--json', 'print one JSON object instead of a table')
    .option(
      '--threads <n>',
      'threads of ONNX Runtime (default: the cores)',
      positiveInteger('--threads'),
    );

export interface CommonOptions {
  readonly json?: boolean;
  readonly threads?: number;
}

/** `threads` only where it was given: the runtime's own default applies otherwise. */
export const threadsOf = ({ threads }: CommonOptions): { threads?: number } =>
  threads === undefined ? {} : { threads };

/** "20,56" → [20, 56], each entry read by `entry`. */
const listOf =
  <T>(entry: (text: string) => T) =>
  (value: string): T[] =>
    value.split(',').map((part) => entry(part.trim()));

export const integers = (option: string): ((value: string) => number[]) =>
  listOf(positiveInteger(option));
export const wholeNumbers = (option: string): ((value: string) => number[]) =>
  listOf(wholeNumber(option));
export const words = <T extends string>(
  option: string,
  values: readonly T[],
): ((value: string) => T[]) => listOf(oneOf(option, values));
export const paths = listOf(String);

/** Reads the command line, then runs the benchmark. */
export async function runBenchmark(command: Command, main: () => Promise<void>): Promise<void> {
  command.action(main);
  try {
    await command.parseAsync();
  } catch (error) {
    const text =
      error instanceof DiagnosticError
        ? error.message
        : error instanceof Error
          ? (error.stack ?? error.message)
          : String(error);
    process.stderr.write(`error ${text}\n`);
    process.exitCode = EXIT_BROKEN;
  }
}

export const progress = (text: string): void => void process.stderr.write(`${text}\n`);
