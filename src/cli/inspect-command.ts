// revnetify inspect FILE: the residual blocks of a model, or what a plan says.

import { statSync } from 'node:fs';
import type { Command } from 'commander';
import type { AddReport, CompileState } from '../../passes/index.js';
import { findPlan } from '../../runtime/index.js';
import { analyseModel } from '../compiler/index.js';
import { readModel } from '../onnx/index.js';
import { readPlanFile } from '../plan/index.js';
import { describePlan } from './inspect-plan.js';
import {
  alreadyReversible,
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
    .option('--explain', 'every Add of a model: what was decided, why, what could be changed')
    .action((path: string, options: InspectOptions) => {
      if (isFolder(path)) inspectPlan(findPlan(path), options);
      else if (path.endsWith('.json')) inspectPlan(path, options);
      else inspectModel(path, options);
    });
  reportingOptions(command);
}

const isFolder = (path: string): boolean =>
  statSync(path, { throwIfNoEntry: false })?.isDirectory() ?? false;

interface InspectOptions extends ReportingOptions {
  readonly explain?: boolean;
}

function inspectModel(path: string, options: InspectOptions): void {
  const out = outputOptions(options);
  const state = analyseModel(readModel(path));
  for (const note of state.notes) remark(`note: ${note}`, out);
  const count = (kind: string): number => state.reports.filter((r) => r.kind === kind).length;
  const summary = {
    residual: state.reports.length,
    identity: count('identity'),
    projection: count('projection'),
    reversible: state.reports.filter((r) => r.code === 'reversible').length,
    longestRun: state.longestRun,
  };
  if (out.json) {
    const blocks = state.reports.map((r) => ({ ...r, shape: r.shape ?? null }));
    printJson({ blocks, summary, ...(options.explain ? { others: state.others } : {}) });
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
      `${summary.residual} residual blocks: ${summary.identity} identity, ${summary.projection} projection${alreadyReversible(summary.reversible)}; longest run ${summary.longestRun}`,
      ...(options.explain ? explanations(state) : []),
      ...(rows.length > 0 && !options.explain ? ['', columns(rows, new Set([0, 1, 2, 3, 4]))] : []),
    ].join('\n'),
  );
}

/** A paragraph per Add: decision and reason code, reason, advice. Adds of a constant are only counted. */
function explanations({ reports, others }: CompileState): string[] {
  const kinds = new Map<AddReport, string>(reports.map((r) => [r, r.coupled ? 'coupled' : 'left']));
  const constants = others.filter((r) => r.code === 'constant').length;
  const shown = [...reports, ...others.filter((r) => r.code !== 'constant')];
  return [
    ...shown.flatMap((r) => [
      '',
      `${r.id}  ${kinds.get(r) ?? 'no residual block'} (${r.code})`,
      `  Add   ${r.add}`,
      `  why   ${r.reason}`,
      ...(r.advice === null ? [] : [`  do    ${r.advice}`]),
    ]),
    ...(constants > 0
      ? [
          '',
          `and ${constants} ${constants === 1 ? 'Add' : 'Adds'} of a constant: biases, steps of activations and norms`,
        ]
      : []),
  ];
}

function inspectPlan(path: string, options: ReportingOptions): void {
  const plan = readPlanFile(path);
  if (options.json) printJson(plan);
  else printResult(describePlan(plan));
}
