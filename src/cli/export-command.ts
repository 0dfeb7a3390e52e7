// revnetify export torch DIR and import torch DIR FILE: to PyTorch and back.

import type { Command } from 'commander';
import { exportTorch, importTorch } from '../emit/torch/index.js';
import { formatCount, outputOptions, printJson, printResult, reportingOptions } from './output.js';
import type { ReportingOptions } from './output.js';

interface ExportOptions extends ReportingOptions {
  readonly output?: string;
  readonly force?: boolean;
}

interface ImportOptions extends ReportingOptions {
  readonly output?: string;
}

export function addExportCommand(program: Command): void {
  const command = program
    .command('export')
    .description('write the network of a folder for another framework')
    .command('torch')
    .description('a PyTorch package that trains it: reversible, under torchrun, from its weights')
    .argument('<dir>', 'folder made by revnetify MODEL.onnx')
    .option('-o, --output <dir>', 'folder the package NAME_torch is written into (default: <dir>)')
    .option('--force', 'replace a package that is there, changes and all')
    .action((dir: string, options: ExportOptions) => {
      const result = exportTorch(dir, {
        ...(options.output === undefined ? {} : { to: options.output }),
        ...(options.force === undefined ? {} : { force: options.force }),
      });
      if (outputOptions(options).json) printJson(result);
      else
        printResult(
          [
            `wrote ${result.path}: ${result.files.join(', ')}`,
            `${result.className}, ${result.tensors} tensors of ${formatCount(result.elements)} numbers`,
          ].join('\n'),
        );
    });
  reportingOptions(command);
}

export function addImportCommand(program: Command): void {
  const command = program
    .command('import')
    .description('bring weights trained in another framework back into the model')
    .command('torch')
    .description('weights of a package made by export torch, as NAME.trained.onnx')
    .argument('<dir>', 'folder the package was exported from')
    .argument('<weights.safetensors>', 'state_dict of the module, or tensors by their ONNX names')
    .option('-o, --output <dir>', 'folder NAME.trained.onnx is written into (default: <dir>)')
    .action((dir: string, file: string, options: ImportOptions) => {
      const result = importTorch(dir, file, options.output);
      if (outputOptions(options).json) printJson(result);
      else
        printResult(
          `wrote ${result.path}: ${result.weights} weights, ${result.statistics} running statistics`,
        );
    });
  reportingOptions(command);
}
