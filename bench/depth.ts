// npm run bench:depth: does depth cost memory? In: depths and targets. Out: the peak of one training step above the
// loaded model, reversible and stored. Exit status 1 when the reversible column grows by more than 5 % or 8 MB.
// With --no-token: what the token and the order of results are for. There memory has to grow, or they are useless.

import { printJson, printResult } from '../src/cli/output.js';
import { oneOf, positiveInteger } from '../src/cli/parse.js';
import {
  EXIT_CLAIM_FAILED,
  benchmark,
  integers,
  progress,
  runBenchmark,
  threadsOf,
  words,
} from './lib/command.js';
import type { CommonOptions } from './lib/command.js';
import { growth, measureDepth } from './lib/depth.js';
import type {
  DepthCase,
  DepthResult,
  Growth,
  NetworkKind,
  ResultOrder,
  Safeguards,
} from './lib/depth.js';
import { markdownTable, megabytes, signedPercent } from './lib/table.js';

const TARGETS = ['cpu', 'portable'] as const;
type Target = (typeof TARGETS)[number];

interface Options extends CommonOptions {
  readonly network: NetworkKind;
  readonly layers: number[];
  readonly targets: Target[];
  readonly steps: number;
  readonly batch: number;
  readonly token: boolean;
  readonly unordered: ResultOrder;
}

const command = benchmark('bench:depth', 'peak memory of a training step, by depth')
  .option('--layers <list>', 'depths, 6n + 2', integers('--layers'), [20, 56, 110, 218])
  .option('--targets <list>', 'cpu, portable', words('--targets', TARGETS), [...TARGETS])
  .option(
    '--network <kind>',
    'preactivation, or v1: ReLU after the Add',
    oneOf('--network', ['preactivation', 'v1']),
    'preactivation',
  )
  .option('--steps <n>', 'steps per measurement', positiveInteger('--steps'), 2)
  .option('--batch <n>', 'batch size', positiveInteger('--batch'), 128)
  .option('--no-token', 'measure without the token and without the order of results')
  .option(
    '--unordered <how>',
    'with --no-token: reversed, or natural (as the passes append results)',
    oneOf('--unordered', ['reversed', 'natural']),
    'reversed',
  );

async function runCase(subject: DepthCase, what: string, options: Options): Promise<DepthResult> {
  const result = await measureDepth(subject, { steps: options.steps, ...threadsOf(options) });
  progress(
    `${subject.target}, ${subject.layers} layers, ${what}: ${megabytes(result.peakBytes)} MB`,
  );
  return result;
}

const verdict = (name: string, g: Growth): string =>
  `${name} ${megabytes(g.fromBytes)} → ${megabytes(g.toBytes)} MB (${signedPercent(g.ratio)})`;

interface Row {
  readonly layers: number;
  readonly target: Target;
  readonly reversible: DepthResult;
  readonly stored: DepthResult;
  /** stored / reversible */
  readonly ratio: number;
}

async function byDepth(options: Options): Promise<void> {
  const { network, targets, layers, batch } = options;
  const rows: Row[] = [];
  for (const target of targets)
    for (const depth of layers) {
      const subject = { network, layers: depth, target, batch };
      const reversible = await runCase(
        { ...subject, recipe: 'rewire', policy: 'reverse' },
        'reversible',
        options,
      );
      const stored = await runCase(
        { ...subject, recipe: 'none', policy: 'store' },
        'stored',
        options,
      );
      const ratio = stored.peakBytes / reversible.peakBytes;
      rows.push({ layers: depth, target, reversible, stored, ratio });
    }
  const growths = targets.map((target) => {
    const mine = rows.filter((row) => row.target === target);
    const column = (pick: (row: Row) => DepthResult): Growth =>
      growth(mine.map((row) => pick(row).peakBytes));
    return { target, reversible: column((r) => r.reversible), stored: column((r) => r.stored) };
  });
  const passed = growths.every(({ reversible }) => reversible.isFlat);
  if (options.json) printJson({ network, batch, rows, growth: growths, passed });
  else
    printResult(
      [
        markdownTable(
          [
            'target',
            'layers',
            'reversible, MB',
            'stored, MB',
            'stored / reversible',
            'reversible, s/step',
            'stored, s/step',
          ],
          rows.map((row) => [
            row.target,
            row.layers,
            megabytes(row.reversible.peakBytes),
            megabytes(row.stored.peakBytes),
            row.ratio.toFixed(1),
            row.reversible.secondsPerStep.toFixed(2),
            row.stored.secondsPerStep.toFixed(2),
          ]),
        ),
        '',
        ...growths.map(
          ({ target, reversible, stored }) =>
            `${target}: ${verdict('reversible', reversible)}, ${reversible.isFlat ? 'flat' : 'NOT FLAT'}; ${verdict('stored', stored)}`,
        ),
      ].join('\n'),
    );
  if (!passed) process.exitCode = EXIT_CLAIM_FAILED;
}

const WAYS = ['both', 'tokenOnly', 'orderOnly', 'neither'] as const;
type Way = (typeof WAYS)[number];

const safeguards = (way: Way, unordered: ResultOrder): Safeguards => ({
  token: way === 'both' || way === 'tokenOnly',
  order: way === 'both' || way === 'orderOnly' ? 'schedule' : unordered,
});

interface BareRow extends Record<Way, DepthResult> {
  readonly layers: number;
  readonly target: Target;
  readonly policy: 'recompute' | 'reverse';
}

async function withoutToken(options: Options): Promise<void> {
  const { network, targets, layers, batch, unordered } = options;
  const series = targets.flatMap((target) =>
    (['recompute', 'reverse'] as const).map((policy) => ({ target, policy })),
  );
  const rows: BareRow[] = [];
  for (const { target, policy } of series)
    for (const depth of layers) {
      const subject: DepthCase = {
        network,
        layers: depth,
        target,
        batch,
        recipe: 'rewire',
        policy,
      };
      const one = (way: Way): Promise<DepthResult> =>
        runCase({ ...subject, ...safeguards(way, unordered) }, `${policy}, ${way}`, options);
      rows.push({
        layers: depth,
        target,
        policy,
        both: await one('both'),
        tokenOnly: await one('tokenOnly'),
        orderOnly: await one('orderOnly'),
        neither: await one('neither'),
      });
    }
  const growths = series.map(({ target, policy }) => {
    const mine = rows.filter((row) => row.target === target && row.policy === policy);
    const column = (way: Way): Growth => growth(mine.map((row) => row[way].peakBytes));
    return {
      target,
      policy,
      both: column('both'),
      tokenOnly: column('tokenOnly'),
      orderOnly: column('orderOnly'),
      neither: column('neither'),
    };
  });
  const passed = growths.every(({ neither }) => !neither.isFlat);
  if (options.json) printJson({ network, batch, unordered, rows, growth: growths, passed });
  else
    printResult(
      [
        markdownTable(
          [
            'target',
            'policy',
            'layers',
            'token and order, MB',
            'token only, MB',
            'order only, MB',
            'neither, MB',
          ],
          rows.map((row) => [
            row.target,
            row.policy,
            row.layers,
            ...WAYS.map((way) => megabytes(row[way].peakBytes)),
          ]),
          2,
        ),
        '',
        ...growths.map(
          (g) => `${g.target}, ${g.policy}: ${WAYS.map((way) => verdict(way, g[way])).join('; ')}`,
        ),
      ].join('\n'),
    );
  if (!passed) process.exitCode = EXIT_CLAIM_FAILED;
}

await runBenchmark(command, () => {
  const options = command.opts<Options>();
  return options.token ? byDepth(options) : withoutToken(options);
});
