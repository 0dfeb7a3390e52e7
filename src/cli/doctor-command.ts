// revnetify doctor: which devices work here, why others do not, how to get them.

import type { Command } from 'commander';
import { examine } from '../../runtime/index.js';
import type { DeviceReport, DoctorReport } from '../../runtime/index.js';
import { EXIT } from '../diagnostics/index.js';
import { columns, formatBytes, paint, printJson, printResult, reportingOptions } from './output.js';
import type { ReportingOptions } from './output.js';

export function addDoctorCommand(program: Command): void {
  const command = program
    .command('doctor')
    .description('say which devices work on this machine, why others do not, and how to get them')
    .action(async (options: ReportingOptions) => {
      const report = await examine();
      if (options.json) printJson(report);
      else printResult(describeMachine(report));
      // Without the CPU nothing of the runtime works.
      if (!report.devices.some(({ device, works }) => device === 'cpu' && works))
        process.exitCode = EXIT.runtimeMissing;
    });
  reportingOptions(command);
}

function describeMachine(report: DoctorReport): string {
  const { processor } = report;
  const facts = columns(
    [
      ['system', report.system],
      ['processor', `${processor.name}, ${processor.threads} threads`],
      [
        'blocked kernels',
        processor.block === null
          ? 'none: --target auto is --target cpu'
          : `blocks of ${processor.block} channels: --target auto is --target cpu-blocked`,
      ],
      ['memory', formatBytes(report.memoryBytes)],
      ['Node.js', report.node],
      ['onnxruntime-node', report.onnxruntime ?? paint.red('cannot be loaded')],
    ],
    new Set([0, 1]),
  );
  return [facts, '', ...report.devices.map(describeDevice)].join('\n');
}

function describeDevice({ device, works, name, why, get }: DeviceReport): string {
  const verdict = works ? paint.green('works') : paint.red('does not work');
  return [
    `--device ${device.padEnd(6)}  ${verdict}${name === undefined ? '' : `  (${name})`}`,
    ...(why === undefined ? [] : [`  why: ${why}`]),
    ...(get === undefined ? [] : [`  do:  ${get}`]),
  ].join('\n');
}
