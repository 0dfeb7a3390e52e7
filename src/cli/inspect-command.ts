// revnetify inspect FILE: the residual blocks of a model, or what a plan says.

import type { Command } from 'commander';
import { analyseModel } from '../compiler/index.js';
import { readModel } from '../onnx/index.js';
import { readPlanFile } from '../plan/index.js';
import type { PlanMemory } from '../plan/index.js';
import {
  columns,
  formatBytes,
  formatCount,
  formatPercent,
  outputOptions,
  printJson,
  printResult,
  remark,
} from './output.js';

interface Options {
  readonly json?: boolean;
  readonly quiet?: boolean;
}

export function addInspectCommand(program: Command): void {
  program
    .command('inspect')
    .description('list the residual blocks of a model, or show a plan')
    .argument('<model.onnx|plan.json>')
    .option('--json', 'print one JSON object')
    .option('--quiet', 'print nothing but the result')
    .action((path: string, options: Options) => {
      if (path.endsWith('.json')) inspectPlan(path, options);
      else inspectModel(path, options);
    });
}

function inspectModel(path: string, options: Options): void {
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

function inspectPlan(path: string, options: Options): void {
  const plan = readPlanFile(path);
  if (options.json) {
    printJson(plan);
    return;
  }
  const { memory, assumptions, cost } = plan;
  const categories = [
    ...new Set(
      [memory.originalStored, memory.coupledStored, memory.plan].flatMap((m) =>
        Object.keys(m.byCategory),
      ),
    ),
  ] as (keyof PlanMemory['byCategory'])[];
  const row = (title: string, of: (m: PlanMemory) => number): string[] => [
    title,
    ...[memory.originalStored, memory.coupledStored, memory.plan].map((m) => formatBytes(of(m))),
  ];
  const policies = new Map<string, number>();
  for (const { policy } of plan.units) policies.set(policy, (policies.get(policy) ?? 0) + 1);
  printResult(
    [
      `${plan.model.name}: recipe ${plan.recipe}, policy ${assumptions.policy}, target ${assumptions.target}`,
      `batch ${assumptions.batch} × [${assumptions.imageShape.join(', ')}], ${assumptions.classes} classes, SGD, float32`,
      '',
      columns([
        ['peak by category', 'original stored', 'coupled stored', 'this plan'],
        ...categories.map((c) => row(`  ${c}`, (m) => m.byCategory[c] ?? 0)),
        row('live bytes', (m) => m.activationBytes),
        row('peak', (m) => m.peakBytes),
      ]),
      `saved ${formatPercent(memory.savedRatio)}; peak at ${memory.plan.peakNode}`,
      '',
      `units: ${[...policies].map(([policy, n]) => `${n} ${policy}`).join(', ')}`,
      columns(
        plan.units.map((u) => [`  ${u.id}`, u.kind, u.policy, u.reason]),
        new Set([0, 1, 2, 3]),
      ),
      '',
      `arithmetic ${formatCount(cost.stepFlopsBefore)}FLOP → ${formatCount(cost.stepFlopsAfter)}FLOP per step (× ${cost.ratio.toFixed(2)})`,
    ].join('\n'),
  );
}
