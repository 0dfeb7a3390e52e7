// revnetify export ts DIR: a typed TypeScript module that trains the network of a folder.

import type { Command } from 'commander';
import { outputOptions, printJson, printResult, reportingOptions } from './output.js';
import type { ReportingOptions } from './output.js';

interface Options extends ReportingOptions {
  readonly output?: string;
  readonly force?: boolean;
}

export function addExportTsCommand(program: Command): void {
  const group =
    program.commands.find((command) => command.name() === 'export') ??
    program.command('export').description('write the network of a folder for another framework');
  const command = group
    .command('ts')
    .description('a TypeScript module that trains it, with names and shapes as types')
    .argument('<dir>', 'folder made by revnetify MODEL.onnx')
    .option('-o, --output <dir>', 'folder NAME.training.ts is written into (default: <dir>)')
    .option('--force', 'replace a module that is there, changes and all')
    .action(async (dir: string, options: Options) => {
      // The TypeScript compiler takes a second to load: only this command waits for it.
      const { exportTs } = await import('../emit/ts/index.js');
      const result = exportTs(dir, {
        ...(options.output === undefined ? {} : { to: options.output }),
        ...(options.force === undefined ? {} : { force: options.force }),
      });
      if (outputOptions(options).json) printJson(result);
      else
        printResult(
          `wrote ${result.path}: class ${result.className}, ${result.parameters} parameters`,
        );
    });
  reportingOptions(command);
}
