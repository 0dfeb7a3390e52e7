// npm run bench:step: how long a training step takes and how much memory, beside PyTorch. In: networks. Out: seconds and
// peak bytes of our step (each target; reversible, checkpointed, stored) and of PyTorch (the same reversible network, torch.utils.checkpoint
// per block, plain autograd), each in a process of its own, taken in turns; medians. Both peaks are resident bytes above the
// loaded model (runtime/measure.ts, bench/gpu/step.py). Debian's python3-torch multiplies matrices with whatever libblas.so.3
// is: without libopenblas0-pthread the reference BLAS, which makes transformers thirty times slower. Exit status 1 where a
// bar of the options is missed.

import { spawnSync } from 'node:child_process';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { availableParallelism } from 'node:os';
import type { Settings } from '../passes/index.js';
import { measure, probeBlock } from '../runtime/index.js';
import { printJson, printResult } from '../src/cli/output.js';
import { budget, positiveInteger } from '../src/cli/parse.js';
import { compile, writeFolder } from '../src/compiler/index.js';
import type { Budget } from '../src/compiler/index.js';
import { exportTorch } from '../src/emit/torch/index.js';
import { EXIT_CLAIM_FAILED, benchmark, progress, runBenchmark, words } from './lib/command.js';
import type { CommonOptions } from './lib/command.js';
import { withTemporary } from './lib/folder.js';
import { median } from './lib/median.js';
import { NETWORKS, NETWORK_NAMES } from './lib/networks.js';
import type { NetworkName } from './lib/networks.js';
import { markdownTable, megabytes } from './lib/table.js';

/** resnet101 is here for its batch size. */
const USUAL = NETWORK_NAMES.filter((name) => name !== 'resnet101');

/** Targets of the CPU; auto: blocked where this one has kernels for it. */
const TARGETS = ['auto', 'cpu'] as const;
type Target = (typeof TARGETS)[number];

interface Options extends CommonOptions {
  readonly networks: NetworkName[];
  readonly targets: Target[];
  readonly repeat: number;
  readonly steps: number;
  readonly batch?: number;
  readonly budget?: Budget;
  readonly python: string;
}

const command = benchmark('bench:step', 'time and memory of a training step, beside PyTorch')
  .option('--networks <list>', NETWORK_NAMES.join(', '), words('--networks', NETWORK_NAMES), USUAL)
  .option(
    '--targets <list>',
    `${TARGETS.join(', ')}; the first is held to the bars`,
    words('--targets', TARGETS),
    ['auto'] satisfies Target[],
  )
  .option('--repeat <n>', 'turns; the median counts', positiveInteger('--repeat'), 3)
  .option('--steps <n>', 'steps per process, the first not timed', positiveInteger('--steps'), 4)
  .option('--batch <n>', 'batch size instead of the usual one', positiveInteger('--batch'))
  .option('--budget <size>', 'memory our reversible step may take, or "free"', budget('--budget'))
  .option('--python <path>', 'a python3 with torch', 'python3');

interface Cost {
  readonly seconds: number;
  readonly peakBytes: number;
}

/** One way of training, ready to be measured again and again. */
type Contender = () => Promise<Cost>;

const STEP = fileURLToPath(new URL('../../bench/gpu/step.py', import.meta.url));

/** What the original and the coupled network are compiled with. */
const FORMS = {
  reversible: { recipe: 'paper', policy: 'reverse' },
  checkpointed: { recipe: 'none', policy: 'recompute' },
  stored: { recipe: 'none', policy: 'store' },
} as const satisfies Readonly<Record<string, Partial<Settings>>>;

const TORCH_MODES = {
  reversible: 'reversible',
  checkpointed: 'checkpoint',
  stored: 'stored',
} as const;

type Form = keyof typeof FORMS;

function torchStep(request: Readonly<Record<string, unknown>>, python: string): Cost {
  const { status, stdout, stderr, error } = spawnSync(python, [STEP, JSON.stringify(request)], {
    encoding: 'utf8',
  });
  if (error) throw error;
  if (status !== 0) throw new Error(`PyTorch ended with ${status ?? '?'}: ${stderr}`);
  return JSON.parse(stdout) as Cost;
}

const oursOf = (target: Target, form: Form): string => `revnetify ${target}, ${form}`;

async function contenders(
  name: NetworkName,
  dir: string,
  options: Options,
): Promise<Map<string, Contender>> {
  const network = NETWORKS[name];
  const batch = options.batch ?? network.batch;
  const threads = options.threads ?? availableParallelism();
  const found = new Map<string, Contender>();
  const blocks = { auto: await probeBlock(), cpu: undefined };
  for (const form of Object.keys(FORMS) as Form[]) {
    const folders = options.targets.map((target) => {
      const folder = join(dir, form, target);
      const given =
        form === 'reversible' && options.budget !== undefined ? { budget: options.budget } : {};
      const settings = {
        name,
        source: name,
        batch,
        ...FORMS[form],
        block: blocks[target],
        ...given,
      };
      writeFolder(compile(network.make(), settings), folder);
      found.set(oursOf(target, form), async () => {
        const { measured } = await measure(folder, { steps: options.steps, threads });
        return { seconds: measured.secondsPerStep, peakBytes: measured.peakBytes };
      });
      return folder;
    });
    const { path } = exportTorch(folders[0] ?? '');
    found.set(`PyTorch, ${form}`, () =>
      Promise.resolve(
        torchStep(
          {
            package: path,
            mode: TORCH_MODES[form],
            batch,
            dtype: 'float32',
            steps: options.steps,
            threads,
            cpu: true,
          },
          options.python,
        ),
      ),
    );
  }
  return found;
}

interface Row {
  readonly network: NetworkName;
  readonly batch: number;
  readonly costs: Readonly<Record<string, Cost>>;
}

const measureNetwork = (name: NetworkName, options: Options): Promise<Row> =>
  withTemporary(async (dir) => {
    const ways = await contenders(name, dir, options);
    const runs = new Map<string, Cost[]>([...ways.keys()].map((way) => [way, []]));
    for (let turn = 0; turn < options.repeat; turn++)
      for (const [way, run] of ways) {
        const cost = await run();
        runs.get(way)?.push(cost);
        progress(`${name}, ${way}: ${cost.seconds.toFixed(2)} s, ${megabytes(cost.peakBytes)} MB`);
      }
    const costs = Object.fromEntries(
      [...runs].map(([way, list]) => [
        way,
        {
          seconds: median(list.map((c) => c.seconds)),
          peakBytes: median(list.map((c) => c.peakBytes)),
        },
      ]),
    );
    return { network: name, batch: options.batch ?? NETWORKS[name].batch, costs };
  });

interface Bar {
  readonly to: string;
  readonly most: number;
}

/** Ours, reversible, to another way: at most this. */
const barsOf = (target: Target): readonly Bar[] => [
  { to: 'PyTorch, reversible', most: 0.75 },
  { to: 'PyTorch, stored', most: 1.15 },
  { to: oursOf(target, 'stored'), most: 1.4 },
];

type Ratio = (row: Row, to: string, of: keyof Cost) => number;

const ratioOf =
  (target: Target): Ratio =>
  ({ costs }, to, of) =>
    (costs[oursOf(target, 'reversible')]?.[of] ?? NaN) / (costs[to]?.[of] ?? NaN);

function describeRow(row: Row, bars: readonly Bar[], ratio: Ratio): (string | number)[] {
  const cells = Object.values(row.costs).flatMap(({ seconds, peakBytes }) => [
    seconds.toFixed(2),
    megabytes(peakBytes),
  ]);
  const ratios = bars.map(({ to }) => ratio(row, to, 'seconds').toFixed(2));
  return [
    row.network,
    row.batch,
    ...cells,
    ...ratios,
    ratio(row, 'PyTorch, stored', 'peakBytes').toFixed(3),
  ];
}

await runBenchmark(command, async () => {
  const options = command.opts<Options>();
  const [target = 'auto'] = options.targets;
  const [bars, ratio] = [barsOf(target), ratioOf(target)];
  const rows: Row[] = [];
  for (const name of options.networks) rows.push(await measureNetwork(name, options));
  const logs = rows.map((row) => Math.log(ratio(row, 'PyTorch, stored', 'seconds')));
  const mean = Math.exp(logs.reduce((sum, x) => sum + x, 0) / logs.length);
  const passed =
    mean <= 1 &&
    rows.every((row) => bars.every((bar) => ratio(row, bar.to, 'seconds') <= bar.most));
  if (options.json) printJson({ rows, mean, bars, passed });
  else
    printResult(
      [
        markdownTable(
          [
            'network',
            'batch',
            ...Object.keys(rows[0]?.costs ?? {}).flatMap((way) => [`${way}, s`, 'MB']),
            ...bars.map(({ to, most }) => `time to ${to} (≤ ${most})`),
            'memory to PyTorch, stored',
          ],
          rows.map((row) => describeRow(row, bars, ratio)),
        ),
        '',
        `time to plain PyTorch, geometric mean: × ${mean.toFixed(2)} (≤ 1)`,
      ].join('\n'),
    );
  if (!passed) process.exitCode = EXIT_CLAIM_FAILED;
});
