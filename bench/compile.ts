// npm run bench:compile: does the compiler's time and memory grow with the network? In: depths of a pre-activation CIFAR
// ResNet. Out: nodes, seconds and peak memory of the conversion (--no-verify); beside it reading, typing and writing the same
// file, by us and by python3-onnx (load, infer_shapes, save). Every figure is of a process from its start to its end.
// Exit status 1 where the deepest takes more than the limit, or the cost of a node grows with the depth.

import { spawnSync } from 'node:child_process';
import { statSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { preResNet } from '../fixtures/models.js';
import { printJson, printResult } from '../src/cli/output.js';
import { positiveInteger } from '../src/cli/parse.js';
import { readModel, writeModel } from '../src/onnx/index.js';
import { EXIT_CLAIM_FAILED, benchmark, integers, progress, runBenchmark } from './lib/command.js';
import type { CommonOptions } from './lib/command.js';
import { withTemporary } from './lib/folder.js';
import { median } from './lib/median.js';
import { markdownTable, megabytes } from './lib/table.js';

interface Options extends CommonOptions {
  readonly layers: number[];
  readonly repeat: number;
  readonly limit: number;
  readonly python: string;
}

const command = benchmark('bench:compile', 'time and memory of the compiler, by depth')
  .option(
    '--layers <list>',
    'depths, 6n + 2',
    integers('--layers'),
    [20, 56, 110, 218, 434, 866, 1202],
  )
  .option(
    '--repeat <n>',
    'runs of each, taken in turns; the median counts',
    positiveInteger('--repeat'),
    3,
  )
  .option('--limit <s>', 'seconds the deepest may take', positiveInteger('--limit'), 10)
  .option('--python <path>', 'a python3 with onnx', 'python3');

interface Cost {
  readonly seconds: number;
  readonly bytes: number;
}

/** What the child says of itself at its end, on the last line of stderr. */
const PEAK = /peak (\d+)\s*$/;

const program = (path: string): string => fileURLToPath(new URL(path, import.meta.url));

function timed(file: string, args: readonly string[]): Cost {
  const began = performance.now();
  const { status, stderr, error } = spawnSync(file, args, { encoding: 'utf8' });
  const seconds = (performance.now() - began) / 1000;
  if (error) throw error;
  if (status !== 0)
    throw new Error(`${file} ${args.join(' ')} ended with ${status ?? '?'}: ${stderr}`);
  return { seconds, bytes: Number(PEAK.exec(stderr)?.[1] ?? NaN) * 1024 };
}

const PYTHON = `
import resource, sys, onnx
onnx.save(onnx.shape_inference.infer_shapes(onnx.load(sys.argv[1])), sys.argv[2])
print('peak', resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)`;

/** The ways of handling a file, each in a process of its own. */
const ways = (options: Options, dir: string): Record<string, (model: string) => Cost> => {
  const reporting = ['--import', program('./lib/report-peak.js')];
  return {
    convert: (model) =>
      timed(process.execPath, [
        ...reporting,
        program('../src/cli/main.js'),
        ...[model, '-o', join(dir, 'out'), '--no-verify', '--quiet', '--force'],
      ]),
    type: (model) =>
      timed(process.execPath, [
        ...reporting,
        program('./lib/type-file.js'),
        ...[model, join(dir, 'typed.onnx')],
      ]),
    python: (model) => timed(options.python, ['-c', PYTHON, model, join(dir, 'python.onnx')]),
  };
};

interface Row {
  readonly layers: number;
  readonly nodes: number;
  readonly fileBytes: number;
  readonly costs: Readonly<Record<string, Cost>>;
}

function measureDepth(layers: number, options: Options, dir: string): Row {
  const path = join(dir, `preresnet${layers}.onnx`);
  writeModel(preResNet({ depth: layers }), path);
  const all = new Map<string, Cost[]>();
  for (let round = 0; round < options.repeat; round++)
    for (const [name, run] of Object.entries(ways(options, dir)))
      all.set(name, [...(all.get(name) ?? []), run(path)]);
  const costs = Object.fromEntries(
    [...all].map(([name, runs]) => [
      name,
      { seconds: median(runs.map((r) => r.seconds)), bytes: median(runs.map((r) => r.bytes)) },
    ]),
  );
  const nodes = readModel(path).graph.nodes.size;
  progress(`${layers} layers: ${costs.convert?.seconds.toFixed(2) ?? '?'} s`);
  return { layers, nodes, fileBytes: statSync(path).size, costs };
}

/** A node may cost this much more, in time or memory, between the two deepest than between the middle and the next. */
const GROWTH = 1.5;

/** Cost per node over the deeper half, against the half before it: 1 is linear. */
function growthOf(rows: readonly Row[], pick: (row: Row) => number): number {
  const slope = (from: Row | undefined, to: Row | undefined): number =>
    from && to ? (pick(to) - pick(from)) / (to.nodes - from.nodes) : NaN;
  const middle = rows[rows.length >> 1];
  return slope(middle, rows.at(-1)) / slope(rows[0], middle);
}

await runBenchmark(command, () =>
  withTemporary((dir) => {
    const options = command.opts<Options>();
    const rows = options.layers.map((layers) => measureDepth(layers, options, dir));
    const last = rows.at(-1)?.costs;
    const growth = {
      seconds: growthOf(rows, (row) => row.costs.convert?.seconds ?? NaN),
      bytes: growthOf(rows, (row) => row.costs.convert?.bytes ?? NaN),
    };
    const toPython = (last?.type?.seconds ?? NaN) / (last?.python?.seconds ?? NaN);
    const isFast = (last?.convert?.seconds ?? NaN) <= options.limit;
    const isLinear = rows.length < 3 || (growth.seconds <= GROWTH && growth.bytes <= GROWTH);
    const passed = isFast && isLinear && toPython <= 2;
    if (options.json) printJson({ rows, growth, toPython, passed });
    else
      printResult(
        [
          markdownTable(
            [
              'layers',
              'nodes',
              'convert, s',
              'MB',
              'read, type, write, s',
              'MB',
              'python3-onnx, s',
              'MB',
            ],
            rows.map(({ layers, nodes, costs }) => [
              layers,
              nodes,
              ...['convert', 'type', 'python'].flatMap((way) => [
                costs[way]?.seconds.toFixed(2) ?? '',
                megabytes(costs[way]?.bytes ?? NaN),
              ]),
            ]),
          ),
          '',
          `cost of a node, deeper half to the half before: time × ${growth.seconds.toFixed(2)}, memory × ${growth.bytes.toFixed(2)}`,
          `read, type and write at ${rows.at(-1)?.layers ?? 0} layers: × ${toPython.toFixed(2)} of python3-onnx`,
        ].join('\n'),
      );
    if (!passed) process.exitCode = EXIT_CLAIM_FAILED;
    return Promise.resolve();
  }),
);
