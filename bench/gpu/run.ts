// npm run bench:gpu: plain, checkpointed and reversible PyTorch side by side, from exported packages. In: networks, a batch
// size, a memory limit. Out: peak memory, images per second, the largest batch and the deepest network within the
// limit, as a table and as JSON under bench/results/. Runs on the GPU that PyTorch finds, else on the CPU, and says
// which.

import { spawnSync } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import { cpus } from 'node:os';
import { join } from 'node:path';
import { preResNet, resNetImageNet } from '../../fixtures/models.js';
import type { Settings } from '../../passes/index.js';
import { printJson, printResult } from '../../src/cli/output.js';
import { nonNegative, positiveInteger } from '../../src/cli/parse.js';
import { compile, writeFolder } from '../../src/compiler/index.js';
import { exportTorch } from '../../src/emit/torch/index.js';
import type { Model } from '../../src/ir/index.js';
import { benchmark, progress, runBenchmark, words } from '../lib/command.js';
import type { CommonOptions } from '../lib/command.js';
import { withTemporary } from '../lib/folder.js';
import { markdownTable, megabytes } from '../lib/table.js';

const NETWORKS = {
  resnet20: () => preResNet({ depth: 20, seed: 0 }),
  resnet110: () => preResNet({ depth: 110, seed: 0 }),
  resnet50: () => imageNet([3, 4, 6, 3]),
  resnet101: () => imageNet([3, 4, 23, 3]),
} as const satisfies Readonly<Record<string, () => Model>>;
type Network = keyof typeof NETWORKS;
const DTYPES = ['float32', 'bf16'] as const;
type Dtype = (typeof DTYPES)[number];

const imageNet = (layers: number[]): Model =>
  resNetImageNet({ layers, block: 'bottleneck', image: 224, classes: 1000, seed: 0 });

/** What is measured: a package, and how it keeps its activations. */
const VARIANTS = [
  { name: 'plain', form: 'original', mode: 'stored' },
  { name: 'checkpointed', form: 'original', mode: 'checkpoint' },
  { name: 'reversible', form: 'paper', mode: 'reversible' },
  { name: 'reversible, split', form: 'split', mode: 'reversible' },
] as const;

/** Depth is varied by repeating functions of the coupled network, which then is trained in each mode. */
const DEPTHS = [
  { name: 'plain', form: 'paper', mode: 'stored' },
  { name: 'checkpointed', form: 'paper', mode: 'checkpoint' },
  { name: 'reversible', form: 'paper', mode: 'reversible' },
] as const;

const FORMS: Readonly<Record<'original' | 'paper' | 'split', Partial<Settings>>> = {
  original: { recipe: 'none', policy: 'store' },
  paper: { recipe: 'paper' },
  split: { recipe: 'paper', partition: 'split' },
};

interface Options extends CommonOptions {
  readonly networks: Network[];
  readonly dtypes: Dtype[];
  readonly batch: number;
  readonly steps: number;
  readonly limit: number;
  readonly image?: number;
  readonly python: string;
  readonly out: string;
}

const command = benchmark('bench:gpu', 'plain, checkpointed and reversible PyTorch, side by side')
  .option(
    '--networks <list>',
    Object.keys(NETWORKS).join(', '),
    words('--networks', Object.keys(NETWORKS) as Network[]),
    ['resnet110', 'resnet101'],
  )
  .option('--dtypes <list>', DTYPES.join(', '), words('--dtypes', DTYPES), [...DTYPES])
  .option('--batch <n>', 'batch of the comparison', positiveInteger('--batch'), 32)
  .option('--steps <n>', 'steps that are timed', positiveInteger('--steps'), 10)
  .option(
    '--limit <gigabytes>',
    'memory for the largest batch and the deepest network',
    nonNegative('--limit'),
    16,
  )
  .option(
    '--image <n>',
    'size of the images, where the network takes any',
    positiveInteger('--image'),
  )
  .option('--python <command>', 'a Python with PyTorch', 'python3')
  .option('--out <file>', 'where the JSON goes', 'bench/results/gpu.json');

interface Measured {
  readonly outOfMemory?: boolean;
  readonly device: string;
  readonly torch: string;
  readonly parameters: number;
  readonly added: number;
  readonly loadedBytes: number;
  readonly peakBytes: number;
  readonly imagesPerSecond: number;
}

interface Request {
  readonly package: string;
  readonly mode: string;
  readonly batch: number;
  readonly dtype: Dtype;
  readonly steps: number;
  readonly copies?: number;
}

class Bench {
  /** Of the first result: the device everything runs on. */
  machine: { readonly device: string; readonly torch: string } | undefined;

  constructor(private readonly options: Options) {}

  run(request: Request): Measured | undefined {
    const { python, image, threads } = this.options;
    const more = {
      ...(image === undefined ? {} : { image }),
      ...(threads === undefined ? {} : { threads }),
    };
    const { status, stdout, stderr } = spawnSync(
      python,
      [join('bench', 'gpu', 'step.py'), JSON.stringify({ ...request, ...more })],
      {
        encoding: 'utf8',
        // On the CPU freed memory goes back at once, so that the peak is what is in use.
        env: {
          ...process.env,
          MALLOC_MMAP_THRESHOLD_: '1048576',
          MALLOC_TRIM_THRESHOLD_: '1048576',
        },
      },
    );
    if (status !== 0) throw new Error(`step.py: ${stderr}`);
    const measured = JSON.parse(stdout) as Measured;
    if (measured.outOfMemory === true) return undefined;
    this.machine ??= { device: measured.device, torch: measured.torch };
    return measured;
  }

  /** Whether a step fits into the limit, weights and optimizer included. */
  private fits(request: Request): Measured | undefined {
    const measured = this.run(request);
    const total = measured ? measured.loadedBytes + measured.peakBytes : Infinity;
    return total <= this.options.limit * 1e9 ? measured : undefined;
  }

  /** The largest number that fits, to one part in 16, with what was measured there; 0: not even one. */
  largest(request: (n: number) => Request): { n: number; measured: Measured | undefined } {
    let [low, high, found]: [number, number, Measured | undefined] = [0, 1, undefined];
    for (let measured; (measured = this.fits(request(high))); high *= 2)
      [low, found] = [high, measured];
    while (high - low > Math.max(1, low / 16)) {
      const middle = Math.floor((low + high) / 2);
      const measured = this.fits(request(middle));
      if (measured) [low, found] = [middle, measured];
      else high = middle;
    }
    return { n: low, measured: found };
  }
}

interface Row {
  readonly network: Network;
  readonly dtype: Dtype;
  readonly variant: string;
  readonly peakBytes: number | null;
  readonly imagesPerSecond: number | null;
  readonly largestBatch: number;
  /** null: depth is not varied for this form. */
  readonly deepest: number | null;
}

function measureNetwork(network: Network, dir: string, bench: Bench, options: Options): Row[] {
  const packages = new Map<string, { path: string; depth: number }>();
  for (const [form, settings] of Object.entries(FORMS)) {
    const folder = join(dir, `${network}-${form}`);
    const compiled = compile(NETWORKS[network](), {
      name: network,
      source: `${network}.onnx`,
      batch: 4,
      ...settings,
    });
    writeFolder(compiled, folder);
    packages.set(form, { path: exportTorch(folder).path, depth: compiled.plan.model.depth.after });
  }
  const of = (form: string): { path: string; depth: number } =>
    packages.get(form) ?? { path: '', depth: 0 };
  return options.dtypes.flatMap((dtype) =>
    VARIANTS.map(({ name, form, mode }): Row => {
      const common = { package: of(form).path, mode, dtype };
      const here = bench.run({ ...common, batch: options.batch, steps: options.steps + 1 });
      const { n } = bench.largest((batch) => ({ ...common, batch, steps: 1 }));
      const way = DEPTHS.find((d) => d.name === name);
      const deep = way
        ? bench.largest((copies) => {
            const subject = { package: of(way.form).path, mode: way.mode, dtype };
            return { ...subject, batch: options.batch, steps: 1, copies };
          })
        : undefined;
      const deepest =
        deep && way ? (deep.measured ? of(way.form).depth + deep.measured.added : 0) : null;
      progress(`${network}, ${dtype}, ${name}: batch ${n}, ${String(deepest)} layers`);
      return {
        ...{ network, dtype, variant: name, deepest, largestBatch: n },
        peakBytes: here?.peakBytes ?? null,
        imagesPerSecond: here?.imagesPerSecond ?? null,
      };
    }),
  );
}

async function main(): Promise<void> {
  const options = command.opts<Options>();
  const bench = new Bench(options);
  const rows: Row[] = [];
  await withTemporary((dir) => {
    for (const network of options.networks)
      rows.push(...measureNetwork(network, dir, bench, options));
    return Promise.resolve();
  });
  const { batch, limit, image, steps } = options;
  const onCpu = bench.machine?.device === 'cpu';
  const result = {
    machine: { ...bench.machine, processor: cpus()[0]?.model ?? 'unknown', cores: cpus().length },
    note: onCpu
      ? 'no GPU was at hand: run on the CPU at small size to show that the script works; memory is the resident memory of the process'
      : 'peak memory is torch.cuda.max_memory_allocated above the loaded model',
    settings: { batch, limitGigabytes: limit, image: image ?? null, steps },
    rows,
  };
  writeFileSync(options.out, `${JSON.stringify(result, null, 2)}\n`);
  if (options.json) printJson(result);
  else
    printResult(
      [
        `${bench.machine?.device ?? ''}, PyTorch ${bench.machine?.torch ?? ''}: ${result.note}`,
        '',
        markdownTable(
          [
            'network',
            'type',
            'variant',
            `peak at ${batch}, MB`,
            'images/s',
            `largest batch in ${limit} GB`,
            'layers',
          ],
          rows.map((r) => [
            ...[r.network, r.dtype, r.variant],
            r.peakBytes === null ? '–' : megabytes(r.peakBytes),
            r.imagesPerSecond === null ? '–' : r.imagesPerSecond.toFixed(1),
            ...[r.largestBatch, r.deepest ?? '–'],
          ]),
          3,
        ),
      ].join('\n'),
    );
}

await runBenchmark(command, main);
