// Options of the main command about passes. In: --pass, --passes, --dump-after, --timing. Out: the pipeline, what looks
// at it at work, and what is told about it at the end. Invariant: everything named is checked before work begins.

import { join } from 'node:path';
import type { Command } from 'commander';
import { listPasses, loadPasses, revPipeline } from '../../passes/index.js';
import type { CompileState, Pass, RevPipeline } from '../../passes/index.js';
import { Dumps, Timings } from '../compiler/index.js';
import { DiagnosticError } from '../diagnostics/index.js';
import type { Instrument } from '../rewrite/index.js';
import { columns, remark } from './output.js';
import type { OutputOptions } from './output.js';

export interface PassOptions {
  readonly pass?: readonly string[];
  readonly passes?: string;
  readonly dumpAfter?: readonly string[];
  readonly dumpDir?: string;
  readonly timing?: boolean;
  readonly listPasses?: boolean;
}

const repeated = (value: string, previous: readonly string[] = []): string[] => [
  ...previous,
  value,
];

export function addPassOptions(command: Command): void {
  command
    .option('--pass <module>', 'load passes of your own; may be repeated', repeated)
    .option(
      '--passes <pipeline>',
      'passes up to rev.onnx: NAME{option=value},…; import and couple stand for those there are\n' +
        '(default: import, passes of your own, couple)',
    )
    .option(
      '--dump-after <name>',
      'write the graph after this pass, or after all, as text; may be repeated',
      repeated,
    )
    .option('--dump-dir <dir>', 'where --dump-after writes (default: passes in the output folder)')
    .option('--timing', 'print what each pass took, on stderr')
    .option('--list-passes', 'list the passes and their options, and end');
}

export interface PassRun {
  readonly pipeline: RevPipeline;
  readonly instruments: readonly Instrument[];
  /** Tells what passes of the user did, and times if they were asked for; also after a failure. */
  report(): void;
}

const ownPasses = async (options: PassOptions): Promise<Pass<CompileState>[]> => {
  const own: Pass<CompileState>[] = [];
  for (const path of options.pass ?? []) own.push(...(await loadPasses(path)));
  const names = own.map((pass) => pass.name);
  const twice = names.find((name, index) => names.indexOf(name) !== index);
  if (twice !== undefined)
    throw new DiagnosticError(
      'pass/invalid',
      '--pass',
      `two modules have a pass called "${twice}"`,
    );
  return own;
};

/** @throws DiagnosticError pass/invalid, pass/unknown, usage/output */
export async function preparePasses(
  options: PassOptions,
  dir: string,
  out: OutputOptions,
): Promise<PassRun> {
  const own = await ownPasses(options);
  const pipeline = revPipeline(options.passes, own);
  const timings = new Timings();
  const instruments: Instrument[] = [timings];
  if (options.dumpAfter) {
    const names = new Set(options.dumpAfter);
    const last = listPasses().at(-1)?.passes ?? [];
    const run = [...pipeline.before, ...pipeline.after, ...last].map((pass) => pass.name);
    for (const name of names)
      if (name !== 'all' && !run.includes(name))
        throw new DiagnosticError(
          'pass/unknown',
          '--dump-after',
          `no pass called "${name}" is going to run`,
          `these run: all, ${[...new Set(run)].join(', ')}`,
        );
    instruments.push(new Dumps(options.dumpDir ?? join(dir, 'passes'), names));
  }
  const mine = new Set(own.map((pass) => pass.name));
  return {
    pipeline,
    instruments,
    report: () => {
      for (const { name, outcome } of timings.rows)
        if (mine.has(name) && outcome) remark(describeOutcome(name, outcome), out);
      if (options.timing) process.stderr.write(`${describeTimings(timings)}\n`);
    },
  };
}

function describeOutcome(name: string, { changes, reasons }: NonNullable<Row['outcome']>): string {
  if (changes > 0) return `pass ${name}: ${changes} ${changes === 1 ? 'place' : 'places'} changed`;
  const list = [...reasons].sort(([, a], [, b]) => b - a).slice(0, 3);
  const why = list.map(([reason, count]) => `${count} × ${reason}`).join('; ');
  return `pass ${name} changed nothing: ${why || 'no node has the operator it looks for'}`;
}

type Row = Timings['rows'][number];

function describeTimings({ rows }: Timings): string {
  const total = rows.reduce((sum, row) => sum + row.milliseconds, 0);
  const row = (name: string, ms: number, nodes: string): string[] => [
    name,
    ms.toFixed(1),
    `${total > 0 ? ((100 * ms) / total).toFixed(1) : '0.0'} %`,
    nodes,
  ];
  return columns([
    ['pass', 'ms', 'of all', 'nodes'],
    ...rows.map((r) => row(r.name, r.milliseconds, String(r.nodes))),
    row('all', total, ''),
  ]);
}

/** The passes by the part of the way they belong to. */
export async function describePasses(options: PassOptions): Promise<string> {
  const own = await ownPasses(options);
  const rows = listPasses(own).flatMap(({ part, passes }) => [
    [`${part}:`],
    ...passes.flatMap((pass) => [
      [`  ${pass.name}`, pass.summary],
      ...Object.entries(pass.options).map(([name, { type, summary }]) => [
        '',
        `  {${name}=${typeof type === 'string' ? type : type.join('|')}} ${summary}`,
      ]),
    ]),
  ]);
  return columns(rows, new Set([0, 1]));
}
