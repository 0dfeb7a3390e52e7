// npm run bench:cifar: do the reversible networks learn as well as their original? In: CIFAR-10
// (node bench/data/cifar10.mjs fetches it), seeds, steps. Out: losses on the way, test accuracy of every run, means and
// their distance from plain in points. Invariant: the variants of a seed start from the same weights, as far as they have
// them, and see the same batches.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { dirname } from 'node:path';
import { availableParallelism, cpus } from 'node:os';
import prettier from 'prettier';
import { preResNet } from '../fixtures/models.js';
import { train } from '../runtime/index.js';
import { printJson, printResult } from '../src/cli/output.js';
import { nonNegative, positiveInteger, wholeNumber } from '../src/cli/parse.js';
import { compile, writeFolder } from '../src/compiler/index.js';
import { DiagnosticError } from '../src/diagnostics/index.js';
import {
  benchmark,
  progress,
  runBenchmark,
  threadsOf,
  wholeNumbers,
  words,
} from './lib/command.js';
import type { CommonOptions } from './lib/command.js';
import { withTemporary } from './lib/folder.js';
import { markdownTable, percent } from './lib/table.js';
import { VARIANTS, VARIANT_NAMES } from './lib/variants.js';
import type { Variant } from './lib/variants.js';

const RESULTS = 'bench/results/cifar.json';
/** Steps between two reported losses; each is the mean since the last one. */
const EVERY = 100;

interface Options extends CommonOptions {
  readonly data: string;
  readonly depth: number;
  readonly seeds: number[];
  readonly variants: Variant[];
  readonly steps: number;
  readonly batch: number;
  readonly lr: number;
  readonly warmup: number;
  readonly write?: boolean;
}

const command = benchmark('bench:cifar', 'trains a ResNet and its reversible form on CIFAR-10')
  .option('--data <dir>', 'folder with the CIFAR-10 binary files', '.cache/cifar10')
  .option('--depth <n>', 'layers of the pre-activation ResNet', positiveInteger('--depth'), 20)
  .option(
    '--seeds <list>',
    'seeds of weights, order and augmentation',
    wholeNumbers('--seeds'),
    [0, 1],
  )
  .option('--variants <list>', VARIANT_NAMES.join(', '), words('--variants', VARIANT_NAMES), [
    'plain',
    'rewire',
    'paper',
    'split-params',
  ])
  .option('--steps <n>', 'training steps', positiveInteger('--steps'), 2000)
  .option('--batch <n>', 'batch size', positiveInteger('--batch'), 64)
  .option('--lr <x>', 'highest learning rate; falls to 0 as a cosine', nonNegative('--lr'), 0.1)
  .option('--warmup <n>', 'steps of linear warm-up', wholeNumber('--warmup'), 100)
  .option(
    '--write',
    `also write ${RESULTS}; runs of other variants and seeds with the same settings stay`,
  );

interface Run {
  readonly variant: Variant;
  readonly seed: number;
  /** Means over the steps since the entry before. */
  readonly losses: readonly { readonly step: number; readonly loss: number }[];
  /** Of the first step, before anything was learned. */
  readonly firstLoss: number;
  readonly testSamples: number;
  readonly testAccuracy: number;
  readonly secondsPerStep: number;
}

const trainRun = (variant: Variant, seed: number, options: Options): Promise<Run> =>
  withTemporary(async (dir) => {
    const { depth, batch, data, steps, lr, warmup } = options;
    const compiled = compile(preResNet({ depth, seed }), {
      name: `preresnet${depth}`,
      source: `preResNet({ depth: ${depth}, seed: ${seed} })`,
      batch,
      seed,
      ...VARIANTS[variant],
    });
    writeFolder(compiled, dir);
    const losses: { step: number; loss: number }[] = [];
    const result = await train(
      dir,
      { data, steps, lr, warmup, seed, lrSchedule: { kind: 'cosine' }, ...threadsOf(options) },
      {
        every: EVERY,
        progress: ({ step, loss, imagesPerSecond }) => {
          losses.push({ step, loss });
          progress(
            `${variant}, seed ${seed}, step ${step}/${steps}: loss ${loss.toFixed(4)}, ${imagesPerSecond.toFixed(0)} images/s`,
          );
        },
      },
    );
    const { evaluation } = result;
    const { samples = NaN, accuracy } = evaluation ?? {};
    if (accuracy === undefined) throw new Error('the training ended without an evaluation');
    progress(`${variant}, seed ${seed}: test accuracy ${percent(accuracy)}`);
    return {
      variant,
      seed,
      losses,
      firstLoss: result.losses[0] ?? Number.NaN,
      testSamples: samples,
      testAccuracy: accuracy,
      secondsPerStep: result.seconds / result.steps,
    };
  });

const mean = (values: readonly number[]): number | null =>
  values.length === 0 ? null : values.reduce((sum, v) => sum + v, 0) / values.length;

interface Result {
  readonly settings: Pick<Options, 'depth' | 'steps' | 'batch' | 'lr' | 'warmup'>;
  readonly platform: { readonly cpu: string; readonly threads: number; readonly node: string };
  readonly runs: readonly Run[];
  readonly means: readonly {
    readonly variant: Variant;
    readonly accuracy: number;
    /** Distance from plain's mean in percentage points; null where plain was not trained. */
    readonly points: number | null;
  }[];
}

function summarise(runs: readonly Run[], options: Options): Result {
  const { depth, steps, batch, lr, warmup } = options;
  const of = (variant: Variant): number | null =>
    mean(runs.filter((run) => run.variant === variant).map((run) => run.testAccuracy));
  const plain = of('plain');
  const means = VARIANT_NAMES.flatMap((variant) => {
    const accuracy = of(variant);
    if (accuracy === null) return [];
    return [{ variant, accuracy, points: plain === null ? null : 100 * (accuracy - plain) }];
  });
  const platform = {
    cpu: cpus()[0]?.model ?? process.arch,
    threads: options.threads ?? availableParallelism(),
    node: process.version,
  };
  const settings = { depth, steps, batch, lr, warmup };
  return { settings, platform, runs, means };
}

function describe({ runs, means }: Result): string {
  const marks = [...new Set(runs.flatMap((run) => run.losses.map(({ step }) => step)))];
  const name = ({ variant, seed }: Run): string => `${variant}, seed ${seed}`;
  const lossAt = (run: Run, step: number): string =>
    run.losses.find((entry) => entry.step === step)?.loss.toFixed(4) ?? '';
  const lines = [
    markdownTable(
      ['steps', ...runs.map((run) => `loss, ${name(run)}`)],
      marks.map((step) => [step, ...runs.map((run) => lossAt(run, step))]),
      0,
    ),
    '',
    markdownTable(
      ['run', 'test accuracy', 'to plain', 's/step'],
      [
        ...runs.map((run) => [
          name(run),
          percent(run.testAccuracy),
          '',
          run.secondsPerStep.toFixed(3),
        ]),
        ...means.map(({ variant, accuracy, points }) => [
          `${variant}, mean`,
          percent(accuracy),
          points === null ? '' : points.toFixed(2),
          '',
        ]),
      ],
    ),
  ];
  return lines.join('\n');
}

/** Runs of an earlier result that this one neither repeats nor contradicts. */
function kept(runs: readonly Run[], options: Options): Run[] {
  if (!existsSync(RESULTS)) return [];
  const before = JSON.parse(readFileSync(RESULTS, 'utf8')) as Result;
  const { depth, steps, batch, lr, warmup } = options;
  const same =
    JSON.stringify(before.settings) === JSON.stringify({ depth, steps, batch, lr, warmup });
  const repeated = (run: Run): boolean =>
    runs.some(({ variant, seed }) => variant === run.variant && seed === run.seed);
  return same ? before.runs.filter((run) => !repeated(run)) : [];
}

async function write(result: Result): Promise<void> {
  const style = (await prettier.resolveConfig(RESULTS)) ?? {};
  const text = await prettier.format(JSON.stringify(result), { ...style, parser: 'json' });
  mkdirSync(dirname(RESULTS), { recursive: true });
  writeFileSync(RESULTS, text);
  progress(`wrote ${RESULTS}`);
}

await runBenchmark(command, async () => {
  const options = command.opts<Options>();
  if (!existsSync(options.data))
    throw new DiagnosticError(
      'data/invalid',
      options.data,
      'it does not exist',
      'node bench/data/cifar10.mjs fetches CIFAR-10 into .cache/cifar10',
    );
  const runs: Run[] = [];
  for (const seed of options.seeds)
    for (const variant of options.variants) {
      runs.push(await trainRun(variant, seed, options));
      // Hours of work: not to be lost with the last run.
      if (options.write) await write(summarise([...kept(runs, options), ...runs], options));
    }
  const result = summarise(runs, options);
  if (options.json) printJson(result);
  else printResult(describe(result));
});
