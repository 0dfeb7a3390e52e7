// npm run corpus -- FOLDER: what becomes of every ONNX file below a folder. In: the folder. Out: one row per file
// (residual blocks found, coupled, left and why; one training step; verification) and a summary. Each file is looked at in
// a process of its own, one after the other, with a time limit. Exit status 1 when a file crashed, took too long or failed
// verification; a refusal that says why, and a network with nothing to couple, are results.

import { fork } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { join, relative } from 'node:path';
import { fileURLToPath } from 'node:url';
import { RECIPES } from '../passes/index.js';
import { DiagnosticError } from '../src/diagnostics/index.js';
import { columns, printJson, printResult } from '../src/cli/output.js';
import { inputShape, oneOf, positiveInteger, wholeNumber } from '../src/cli/parse.js';
import type { CorpusAttempt, CorpusOptions, CorpusRow } from './lib/corpus.js';
import type { CorpusJob, CorpusMessage } from './lib/corpus-child.js';
import { EXIT_CLAIM_FAILED, benchmark, progress, runBenchmark, threadsOf } from './lib/command.js';
import type { CommonOptions } from './lib/command.js';
import { withTemporary } from './lib/folder.js';

type Shapes = CorpusOptions['shapes'];

interface Options extends CommonOptions {
  readonly recipe: CorpusOptions['recipe'];
  readonly inputShape: Shapes;
  readonly timeLimit: number;
  readonly verify: boolean;
  readonly float64: boolean;
  readonly float64Flops: number;
  readonly only?: string;
}

/** Extents taken where the model leaves height, width or length open. */
const USUAL_SHAPES: Shapes = [
  { name: undefined, dims: [1, 3, 64, 64] },
  { name: undefined, dims: [1, 16, 16] },
  { name: undefined, dims: [1, 16] },
];

/** "input:1,3,96,96" for one input, "1,3,96,96" for every input of four dimensions. */
function shape(value: string, previous: Shapes): Shapes {
  const named = value.includes(':');
  const [entry] = inputShape(named ? value : `*:${value}`);
  const [name, dims] = entry ?? ['', []];
  return [...previous, { name: named ? name : undefined, dims: [...dims] }];
}

const command = benchmark('corpus', 'convert, run and verify every .onnx file below a folder')
  .argument('<folder>', 'folder, or one file')
  .option('--recipe <name>', RECIPES.join(', '), oneOf('--recipe', RECIPES), 'paper')
  .option(
    '--input-shape <[name:]d,d,…>',
    'extents of open dimensions, of one input or of all of that rank; may be repeated',
    shape,
    USUAL_SHAPES,
  )
  .option('--time-limit <s>', 'seconds a file may take', positiveInteger('--time-limit'), 600)
  .option('--no-verify', 'do not verify gradients')
  .option('--no-float64', 'do not interpret small networks in float64')
  .option(
    '--float64-flops <n>',
    'interpret steps of up to this many FLOP in float64',
    wholeNumber('--float64-flops'),
    60_000_000,
  )
  .option('--only <text>', 'only files whose path contains this');

/** Every .onnx below a folder, in the order of their names. */
function findFiles(folder: string): string[] {
  const stat = statSync(folder, { throwIfNoEntry: false });
  if (!stat) throw new DiagnosticError('usage/option', folder, 'there is no such folder');
  if (!stat.isDirectory()) return [folder];
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile() && entry.name.endsWith('.onnx'))
    .map((entry) => join(entry.parentPath, entry.name))
    .sort();
}

const CHILD = fileURLToPath(new URL('./lib/corpus-child.js', import.meta.url));

/** Looks at one file in a process of its own, whose temporary files are gone however it ends. */
function inChild(job: CorpusJob, limit: number, TMPDIR: string): Promise<CorpusRow> {
  const began = performance.now();
  return new Promise((resolve) => {
    const child = fork(CHILD, [], { env: { ...process.env, TMPDIR } });
    let row: CorpusRow | undefined;
    let stage = 'starting';
    let late = false;
    const timer = setTimeout(() => {
      late = true;
      child.kill('SIGKILL');
    }, limit * 1000);
    child.on('message', (message) => {
      const news = message as CorpusMessage;
      if ('row' in news) row = news.row;
      else stage = news.stage;
    });
    child.once('exit', (code, signal) => {
      clearTimeout(timer);
      const end = late ? `took more than ${limit} s` : `died (${signal ?? code ?? 'unknown'})`;
      const nothing = { found: 0, coupled: 0, left: {}, notes: [] };
      const seconds = (performance.now() - began) / 1000;
      resolve(
        row ?? { file: job.file, ...nothing, status: 'stopped', why: `${end}: ${stage}`, seconds },
      );
    });
    child.send(job);
  });
}

const figure = (x: number): string => x.toExponential(1);

function describeFigures({ figures }: CorpusAttempt): string {
  if (figures === undefined) return '';
  if (typeof figures === 'string') return `not verified: ${figures}`;
  const { float64 } = figures;
  const exact =
    typeof float64 === 'string' ? float64 : `${figure(float64[0])}, ${figure(float64[1])}`;
  return (
    `forward ${figure(figures.forward)}, ${figures.streams} streams ${figure(figures.reconstruction)}, ` +
    `gradient ${figure(figures.gradient)} (noise ${figure(figures.noise)}), float64 ${exact}`
  );
}

/** One line of a message: no stack, no line breaks. */
const oneLine = (text: string): string => text.split('\n')[0] ?? '';

function describeAttempt(attempt: CorpusAttempt): string {
  const { code, why } = attempt;
  const cause = why === undefined ? [] : [code === undefined ? oneLine(why) : `${code}: ${why}`];
  const figures = describeFigures(attempt);
  return [...cause, ...(figures === '' ? [] : [figures])].join('; ');
}

/** @returns cells: file, status, found, coupled, seconds, what there is to say */
function cells(row: CorpusRow, folder: string): string[] {
  const left = Object.entries(row.left).map(([why, count]) => `left ${count}: ${why}`);
  const { plain } = row;
  const said = [
    row.status === 'nothing' ? `nothing to couple: ${row.why ?? ''}` : describeAttempt(row),
    ...(row.status === 'nothing' ? [] : left),
    ...(plain ? [`as it is (recipe none): ${plain.status} ${describeAttempt(plain)}`] : []),
  ];
  return [
    relative(folder, row.file) || row.file,
    row.status,
    String(row.found),
    String(row.coupled),
    row.batch === undefined ? '' : String(row.batch),
    row.seconds.toFixed(1),
    said.filter((s) => s !== '').join(' | '),
  ];
}

const HEADER = ['file', 'result', 'found', 'coupled', 'batch', 's', ''];

/** Whether the row is a mistake of ours. */
const isBroken = ({ status, plain }: CorpusRow): boolean =>
  ['crashed', 'stopped', 'failed'].includes(status) ||
  (plain !== undefined && ['crashed', 'stopped', 'failed'].includes(plain.status));

function summarise(rows: readonly CorpusRow[]): Record<string, number> {
  const summary: Record<string, number> = { files: rows.length };
  for (const { status } of rows) summary[status] = (summary[status] ?? 0) + 1;
  summary.found = rows.reduce((sum, row) => sum + row.found, 0);
  summary.coupled = rows.reduce((sum, row) => sum + row.coupled, 0);
  summary.broken = rows.filter(isBroken).length;
  return summary;
}

await runBenchmark(command, async () => {
  const options = command.opts<Options>();
  const [folder = '.'] = command.args;
  const files = findFiles(folder).filter((file) => file.includes(options.only ?? ''));
  const job: CorpusOptions = {
    recipe: options.recipe,
    shapes: options.inputShape,
    verify: options.verify,
    float64Flops: options.float64 ? options.float64Flops : 0,
    ...threadsOf(options),
  };
  const rows: CorpusRow[] = [];
  for (const file of files) {
    const row = await withTemporary((dir) =>
      inChild({ file, options: job }, options.timeLimit, dir),
    );
    rows.push(row);
    progress(`${rows.length}/${files.length} ${cells(row, folder).filter(Boolean).join('  ')}`);
    if (row.status === 'crashed') progress(row.why ?? '');
    if (row.plain?.status === 'crashed') progress(row.plain.why ?? '');
  }
  const summary = summarise(rows);
  if (options.json) printJson({ schemaVersion: 1, folder, rows, summary });
  else
    printResult(
      [
        columns([HEADER, ...rows.map((row) => cells(row, folder))], new Set([0, 1, 6])),
        '',
        Object.entries(summary)
          .map(([name, count]) => `${count} ${name}`)
          .join(', '),
      ].join('\n'),
    );
  if (rows.length === 0)
    throw new DiagnosticError('usage/option', folder, 'it holds no .onnx file');
  if (summary.broken !== 0) process.exitCode = EXIT_CLAIM_FAILED;
});
