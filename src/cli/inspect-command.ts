// revnetify inspect FILE: the residual blocks of a model, or what a plan says.

import { statSync } from 'node:fs';
import type { Command } from 'commander';
import { findPlan } from '../../runtime/index.js';
import { analyseModel } from '../compiler/index.js';
import { readModel } from '../onnx/index.js';
import { readPlanFile } from '../plan/index.js';
import { describePlan } from './inspect-plan.js';
import {
  columns,
  outputOptions,
  printJson,
  printResult,
  remark,
  reportingOptions,
} from './output.js';
import type { ReportingOptions } from './output.js';

export function addInspectCommand(program: Command): void {
  const command = program
    .command('inspect')
    .description('list the residual blocks of a model, or show a plan')
    .argument('<path>', 'MODEL.onnx, NAME.plan.json, or a folder made by revnetify MODEL.onnx')
    .action((path: string, options: ReportingOptions) => {
      if (isFolder(path)) inspectPlan(findPlan(path), options);
      else if (path.endsWith('.json')) inspectPlan(path, options);
      else inspectModel(path, options);
    });
  reportingOptions(command);
}

const isFolder = (path: string): boolean =>
  statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;

function inspectModel(path: string, options: ReportingOptions): void {
  const out = outputOptions(options);
  const state = analyseModel(readModel(path));
  for (const note of state.notes) remark(`note: ${note}`, out);
  const count = (kind: string): number => state.reports.filter((r) => r.kind === kind).length;
  const summary = {
    residual: state.reports.length,
    identity: count('identity'),
    projection: count('projection'),
    longestRun: state.longestRun,
  };
  if (out.json) {
    printJson({ blocks: state.reports.map((r) => ({ ...r, shape: r.shape ?? null })), summary });
    return;
  }
  const rows = state.reports.map((r) => [
    r.id,
    r.kind,
    `[${r.shape?.join(', ') ?? '?'}]`,
    r.coupled ? 'coupled' : 'left',
    r.reason,
  ]);
  printResult(
    [
      `${summary.residual} residual blocks: ${summary.identity} identity, ${summary.projection} projection; longest run ${summary.longestRun}`,
      ...(rows.length > 0 ? ['', columns(rows, new Set([0, 1, 2, 3, 4]))] : []),
    ].join('\n'),
  );
}

function inspectPlan(path: string, options: ReportingOptions): void {
  const plan = readPlanFile(path);
  if (options.json) printJson(plan);
  else printResult(describePlan(plan));
}
