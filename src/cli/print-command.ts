// revnetify print MODEL: the model as text.

import { resolve } from 'node:path';
import type { Command } from 'commander';
import { DiagnosticError } from '../diagnostics/index.js';
import { print } from '../ir/print.js';
import { atomicWrite, readModel } from '../onnx/index.js';

interface Options {
  readonly output?: string;
  readonly weights?: boolean;
}

export function addPrintCommand(program: Command): void {
  program
    .command('print')
    .description('print a model as text, a line per node')
    .argument('<model.onnx>')
    .option('-o, --output <file>', 'write it there instead of to stdout')
    .option('--weights', 'print constants of more than 16 elements too, as base64 of float64')
    .action((path: string, options: Options) => {
      const text = print(readModel(path), { elide: options.weights !== true });
      if (options.output === undefined) process.stdout.write(text);
      else if (resolve(options.output) === resolve(path))
        throw new DiagnosticError(
          'usage/output',
          options.output,
          'it is the model that is read',
          'choose another file with -o',
        );
      else atomicWrite(options.output, text);
    });
}
