#!/usr/bin/env node
// The command line. Invariant: every failure ends in one message on stderr and the documented exit code; a stack
// is shown only for errors that are our own.

import { readFileSync } from 'node:fs';
import { Command, CommanderError } from 'commander';
import { DiagnosticError, EXIT } from '../diagnostics/index.js';
import { addCompileCommand } from './compile-command.js';
import { addInspectCommand } from './inspect-command.js';
import { addTrainCommand } from './train-command.js';
import { addVerifyCommand } from './verify-command.js';

function version(): string {
  const file = new URL('../../../package.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { version: string }).version;
}

function buildProgram(): Command {
  const program = new Command('revnetify')
    .description(
      'Turns residual ONNX networks into reversible ones that train without storing activations.',
    )
    .version(version())
    .exitOverride()
    .showHelpAfterError('(revnetify --help lists commands and options)');
  addCompileCommand(program);
  addInspectCommand(program);
  addVerifyCommand(program);
  addTrainCommand(program);
  for (const command of program.commands) command.exitOverride();
  return program;
}

function report(error: unknown): number {
  if (error instanceof CommanderError) return error.exitCode === 0 ? EXIT.ok : EXIT.usage;
  if (error instanceof DiagnosticError) {
    process.stderr.write(`error ${error.message}\n`);
    return error.exitCode;
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  process.stderr.write(`internal error: please report this with the model\n${text}\n`);
  return EXIT.internal;
}

process.stdout.on('error', (error: NodeJS.ErrnoException) => {
  // The reader went away (revnetify … | head).
  if (error.code === 'EPIPE') process.exit(EXIT.ok);
  throw error;
});

try {
  await buildProgram().parseAsync();
} catch (error) {
  process.exitCode = report(error);
}
