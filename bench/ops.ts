// npm run bench:ops: how long every form of a convolution's gradients takes on this CPU, and which one the compiler chooses.
// In: the geometries of lib/conv-geometries.ts. Out: times per form, beside the choices by the present table, by coefficients
// fitted to these times, and by a fit that did not see the geometry; with --write the fit becomes src/lowering/conv-costs.ts
// and the times bench/results/ops.json, from which --times fits again without measuring. Exit status 1 where forms disagree.

import { readFileSync, writeFileSync } from 'node:fs';
import { availableParallelism, cpus } from 'node:os';
import { format, resolveConfig } from 'prettier';
import { Option } from 'commander';
import { loadRuntime } from '../runtime/index.js';
import { printJson, printResult } from '../src/cli/output.js';
import { oneOf, positiveInteger } from '../src/cli/parse.js';
import { CONV_COSTS } from '../src/lowering/conv-costs.js';
import type { ConvCosts, FormCosts } from '../src/lowering/conv-terms.js';
import { EXIT_CLAIM_FAILED, benchmark, progress, runBenchmark } from './lib/command.js';
import type { CommonOptions } from './lib/command.js';
import { NEAR, judgeAll, summarize } from './lib/conv-fit.js';
import type { Choice, Judged, Summary } from './lib/conv-fit.js';
import { GEOMETRIES } from './lib/conv-geometries.js';
import { FORMS, GRADIENTS, rowsOf, timeForms } from './lib/conv-times.js';
import type { Gradient, Measured } from './lib/conv-times.js';
import { median } from './lib/median.js';
import { markdownTable } from './lib/table.js';

interface Options extends CommonOptions {
  readonly rounds: number;
  readonly only?: Gradient;
  readonly times?: string;
  readonly write?: boolean;
}

const COSTS = 'src/lowering/conv-costs.ts';
const RESULTS = 'bench/results/ops.json';
/** Float32 sums in another order; more is another result. */
const ALLOWED = 1e-3;

/** Forms this many times slower than the fastest are timed in the first rounds only: their place in the order is known. */
const HOPELESS = 6;
const ENOUGH = 3;

const command = benchmark('bench:ops', 'the forms of convolution gradients, timed and fitted')
  .option('--rounds <n>', 'turns of each form; the median counts', positiveInteger('--rounds'), 5)
  .option('--only <gradient>', GRADIENTS.join(', '), oneOf('--only', GRADIENTS))
  .option('--times <file>', `measure nothing, take the times of a file such as ${RESULTS}`)
  .addOption(new Option('--write', `write ${COSTS} and ${RESULTS}`).conflicts('only'));

/**
 * Rounds over all geometries, and in each round the forms of a geometry one after the other: what slows a machine down for a
 * while then meets all forms, and is outvoted by the other rounds.
 */
async function measure(options: Options): Promise<Measured> {
  const { rounds, only, threads = availableParallelism() } = options;
  const runtime = await loadRuntime();
  const turns: Record<Gradient, Record<string, Record<string, number[]>>> = { dX: {}, dW: {} };
  let worst = 0;
  for (let round = 0; round < rounds; round++)
    for (const gradient of only ? [only] : GRADIENTS) {
      for (const [name, geometry] of GEOMETRIES) {
        const taken = (turns[gradient][name] ??= {});
        const least = mapped(taken, (list) => Math.min(...list));
        const fastest = Math.min(...Object.values(least));
        const except = (form: string): boolean =>
          round >= ENOUGH && (least[form] ?? 0) > HOPELESS * fastest;
        const { times, difference } = await timeForms(gradient, geometry, {
          runtime,
          threads,
          except,
        });
        for (const [form, ms] of Object.entries(times)) (taken[form] ??= []).push(ms);
        worst = Math.max(worst, difference);
        if (difference <= ALLOWED) continue;
        progress(`${gradient} of ${name}: the forms disagree by ${difference.toExponential(1)}`);
        process.exitCode = EXIT_CLAIM_FAILED;
      }
      progress(`${gradient}: round ${round + 1} of ${rounds}`);
    }
  return {
    measured: {
      processor: cpus()[0]?.model ?? 'unknown',
      threads,
      onnxruntime: runtime.env.versions.node ?? runtime.env.versions.common,
      date: new Date().toISOString().slice(0, 10),
    },
    rounds,
    difference: Number(worst.toPrecision(2)),
    times: { dX: medians(turns.dX), dW: medians(turns.dW) },
  };
}

const mapped = <T, U>(record: Readonly<Record<string, T>>, f: (value: T) => U): Record<string, U> =>
  Object.fromEntries(Object.entries(record).map(([key, value]) => [key, f(value)]));

const medians = (
  turns: Readonly<Record<string, Readonly<Record<string, readonly number[]>>>>,
): Record<string, Record<string, number>> =>
  mapped(turns, (forms) => mapped(forms, (list) => Number(median(list).toPrecision(4))));

async function write(path: string, text: string): Promise<void> {
  writeFileSync(path, await format(text, { ...(await resolveConfig(path)), filepath: path }));
  progress(`wrote ${path}`);
}

const sourceOf = (costs: ConvCosts): string => `\
// Written by \`npm run bench:ops -- --write\`, which times every form of a convolution's gradients in ONNX Runtime and fits
// these coefficients to the times by non-negative least squares on relative errors (times: ${RESULTS}).
// In: nothing. Out: nanoseconds per unit of each term, by form. Invariant: a coefficient for each term that a form counts
// (conv-terms.ts), none negative.

import type { ConvCosts } from './conv-terms.js';

export const CONV_COSTS: ConvCosts = ${JSON.stringify(costs)};
`;

const shown = (choice: Choice): string =>
  choice.ratio > 1 ? `${choice.form} ×${choice.ratio.toFixed(2)}` : choice.form;

const tableOf = (gradient: Gradient, judged: readonly Judged[]): string => {
  const forms = FORMS[gradient].map((form) => form.name);
  return markdownTable(
    [
      gradient,
      'best',
      'present table',
      'new fit',
      'not seen',
      ...forms.map((form) => `${form}, ms`),
    ],
    judged.map(({ row, best, present, fitted, unseen }) => [
      ...[row.name, best, shown(present), shown(fitted), shown(unseen)],
      ...forms.map((form) => row.times[form]?.toPrecision(3) ?? ''),
    ]),
    5,
  );
};

type Summaries = Readonly<Record<'present' | 'fitted' | 'unseen', Summary>>;

const summariesOf = (judged: readonly Judged[]): Summaries => ({
  present: summarize(judged.map((j) => j.present)),
  fitted: summarize(judged.map((j) => j.fitted)),
  unseen: summarize(judged.map((j) => j.unseen)),
});

const summaryTable = (all: readonly (readonly [Gradient, Summaries])[]): string =>
  markdownTable(
    [
      'gradient',
      'chosen by',
      `within ${Math.round(100 * (NEAR - 1))} % of the best`,
      'worst',
      'geometric mean',
    ],
    all.flatMap(([gradient, { present, fitted, unseen }]) =>
      (
        [
          ['present table', present],
          ['new fit', fitted],
          ['fit without the geometry', unseen],
        ] as const
      ).map(([name, { near, geometries, worst, mean }]) => [
        ...[gradient, name, `${near} of ${geometries}`],
        ...[`×${worst.toFixed(2)}`, `×${mean.toFixed(3)}`],
      ]),
    ),
    2,
  );

await runBenchmark(command, async () => {
  const options = command.opts<Options>();
  const { times, only } = options;
  const taken =
    times === undefined
      ? await measure(options)
      : (JSON.parse(readFileSync(times, 'utf8')) as Measured);
  const results = (only ? [only] : GRADIENTS).map((gradient) => {
    const result = judgeAll(FORMS[gradient], rowsOf(taken, gradient), CONV_COSTS.forms);
    return { gradient, ...result, summaries: summariesOf(result.judged) };
  });
  const forms: FormCosts = Object.assign({}, ...results.map(({ costs }) => costs)) as FormCosts;
  if (options.write) {
    await write(COSTS, sourceOf({ measured: taken.measured, forms }));
    if (times === undefined) await write(RESULTS, JSON.stringify(taken));
  }
  if (options.json) printJson({ ...taken, forms, results });
  else
    printResult(
      [
        ...results.map(({ gradient, judged }) => tableOf(gradient, judged)),
        summaryTable(results.map(({ gradient, summaries }) => [gradient, summaries] as const)),
        `largest difference between forms: ${taken.difference}`,
      ].join('\n\n'),
    );
});
