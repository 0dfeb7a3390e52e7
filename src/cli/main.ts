#!/usr/bin/env node
// The command line. Invariant: every failure ends in one message on stderr and the documented exit code; a stack
// is shown only for errors that are our own.

import './just-in-time.js';
import { existsSync, readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { DiagnosticError, EXIT } from '../diagnostics/index.js';
import { addCompileCommand } from './compile-command.js';
import { addExportCommand, addImportCommand } from './export-command.js';
import { addDoctorCommand } from './doctor-command.js';
import { addExportTsCommand } from './export-ts-command.js';
import { addInspectCommand } from './inspect-command.js';
import { addTrainCommand } from './train-command.js';
import { handleInterrupts } from './interrupt.js';
import { jsonError, printJson } from './output.js';
import { addPrintCommand } from './print-command.js';
import { addVerifyCommand } from './verify-command.js';

/** Of the package this file is in, however deep the build put it. */
function version(): string {
  for (let at = new URL('.', import.meta.url), above; ; at = above) {
    const file = new URL('package.json', at);
    if (existsSync(file)) {
      const found = JSON.parse(readFileSync(file, 'utf8')) as { name?: string; version?: string };
      if (found.name === 'revnetify') return found.version ?? 'unknown';
    }
    above = new URL('..', at);
    if (above.href === at.href) return 'unknown';
  }
}

/** Options of the main command that say how to report, not what to do. */
const REPORTING = ['json', 'quiet'];

function buildProgram(): Command {
  const program = new Command('revnetify')
    .description(
      'Turns residual ONNX networks into reversible ones that train without storing activations.',
    )
    .version(version())
    // The commands share option names with the main one: what follows a command belongs to it.
    .enablePositionalOptions()
    .exitOverride()
    .showHelpAfterError('(revnetify --help lists commands and options)')
    .addHelpText('after', EXIT_CODES);
  addCompileCommand(program);
  addInspectCommand(program);
  addVerifyCommand(program);
  addPrintCommand(program);
  addTrainCommand(program);
  addExportCommand(program);
  addImportCommand(program);
  addDoctorCommand(program);
  addExportTsCommand(program);
  for (const command of program.commands) {
    command.exitOverride();
    for (const inner of command.commands) inner.exitOverride();
  }
  // A second argument is most often a mistyped command before its folder.
  program.configureOutput({
    outputError: (text, write) => {
      write(text);
      if (text.includes('too many arguments'))
        write(`(commands: ${program.commands.map((c) => c.name()).join(', ')})\n`);
    },
  });
  program.hook('preAction', (_, command) => {
    if (command !== program) handOver(program, command);
  });
  return program;
}

/** `revnetify --json verify DIR`: reporting options are passed on, others are refused. */
function handOver(program: Command, command: Command): void {
  for (const [name, value] of Object.entries<unknown>(program.opts())) {
    if (program.getOptionValueSource(name) !== 'cli') continue;
    if (!REPORTING.includes(name))
      throw new DiagnosticError(
        'usage/option',
        `revnetify … ${command.name()}`,
        `--${name.replace(/[A-Z]/g, (c) => `-${c.toLowerCase()}`)} stands before the command`,
        `put options behind it: revnetify ${command.name()} …`,
      );
    command.setOptionValue(name, value);
  }
}

const EXIT_CODES = `
Exit codes: 0 done; 1 internal error; 2 wrong usage, file not found, data that does not fit;
3 no residual block can be coupled; 4 verification failed; 5 the training diverged; 6 the model is unsupported or damaged;
7 ONNX Runtime is missing, or the device cannot be used; 130 interrupted.`;

/** Prints what went wrong: a message on stderr and, if JSON was asked for, an object on stdout. */
function report(error: unknown, json: boolean): number {
  if (error instanceof CommanderError) {
    // Commander has written its own message.
    if (error.exitCode === 0) return EXIT.ok;
    const why = error.message.replace(/^error: /, '');
    if (json)
      printJson(
        jsonError(
          'usage/command',
          'the command line',
          why,
          'revnetify --help lists commands and options',
        ),
      );
    return EXIT.usage;
  }
  if (error instanceof DiagnosticError) {
    process.stderr.write(`error ${error.message}\n`);
    if (json) printJson(jsonError(error.code, error.where, error.why, error.hint));
    return error.exitCode;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  const hint = 'please report this with the model';
  process.stderr.write(`internal error: ${hint}\n${text}\n`);
  if (json) printJson(jsonError('internal', 'revnetify', text, hint));
  return EXIT.internal;
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // The reader went away (revnetify … | head).
  if (error.code === 'EPIPE') process.exit(EXIT.ok);
  throw error;
});

const args = process.argv.slice(2);
const json = args.includes('--json');
handleInterrupts(json);
const program = buildProgram();
if (args.length === 0) {
  program.outputHelp({ error: true });
  process.exitCode = EXIT.usage;
} else
  try {
    await program.parseAsync();
  } catch (error) {
    process.exitCode = report(error, json);
  }
