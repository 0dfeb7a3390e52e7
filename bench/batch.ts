// npm run bench:batch: the largest batch within the memory that stored activations need. In: networks, the batch of the
// stored run. Out: the peak of the stored run, which is the cap; the largest batch whose reversible step stays below it, found
// by bisection with real runs, each in a process of its own. Exit status 1 where that is less than four times the batch.

import { measure } from '../runtime/index.js';
import { printJson, printResult } from '../src/cli/output.js';
import { positiveInteger } from '../src/cli/parse.js';
import { compile, writeFolder } from '../src/compiler/index.js';
import {
  EXIT_CLAIM_FAILED,
  benchmark,
  progress,
  runBenchmark,
  threadsOf,
  words,
} from './lib/command.js';
import type { CommonOptions } from './lib/command.js';
import { withTemporary } from './lib/folder.js';
import { NETWORKS, NETWORK_NAMES } from './lib/networks.js';
import type { NetworkName } from './lib/networks.js';
import { markdownTable, megabytes } from './lib/table.js';
import { VARIANTS, VARIANT_NAMES } from './lib/variants.js';
import type { Variant } from './lib/variants.js';

interface Options extends CommonOptions {
  readonly networks: NetworkName[];
  readonly variant: Variant[];
  readonly batch?: number;
  readonly steps: number;
}

const command = benchmark('bench:batch', 'the largest batch within the memory of a stored run')
  .option('--networks <list>', NETWORK_NAMES.join(', '), words('--networks', NETWORK_NAMES), [
    'preresnet110',
    'resnet101',
    'resnet50',
  ] satisfies NetworkName[])
  .option(
    '--variant <list>',
    `${VARIANT_NAMES.join(', ')}, one for each network`,
    words('--variant', VARIANT_NAMES),
    ['paper', 'paper', 'split'] satisfies Variant[],
  )
  .option(
    '--batch <n>',
    'batch of the stored run (default: a quarter of the usual one)',
    positiveInteger('--batch'),
  )
  .option('--steps <n>', 'steps of each run', positiveInteger('--steps'), 2);

/** Peak bytes of a real run. */
const peakOf = (
  name: NetworkName,
  variant: Variant,
  batch: number,
  options: Options,
): Promise<number> =>
  withTemporary(async (dir) => {
    const model = NETWORKS[name].make();
    writeFolder(compile(model, { name, source: name, batch, ...VARIANTS[variant] }), dir);
    const { measured } = await measure(dir, { steps: options.steps, ...threadsOf(options) });
    progress(`${name}, ${variant}, batch ${batch}: ${megabytes(measured.peakBytes)} MB`);
    return measured.peakBytes;
  });

/** The largest batch that fits, to a sixteenth. @param start a batch to begin with */
async function largest(fits: (batch: number) => Promise<boolean>, start: number): Promise<number> {
  let [low, high] = [0, start];
  while (await fits(high)) [low, high] = [high, high * 2];
  while (high - low > Math.max(1, low / 16)) {
    const middle = Math.floor((low + high) / 2);
    if (await fits(middle)) low = middle;
    else high = middle;
  }
  return low;
}

interface Row {
  readonly network: NetworkName;
  readonly variant: Variant;
  readonly storedBatch: number;
  readonly capBytes: number;
  readonly batch: number;
}

async function measureNetwork(
  network: NetworkName,
  variant: Variant,
  options: Options,
): Promise<Row> {
  const storedBatch = options.batch ?? Math.max(1, NETWORKS[network].batch >> 2);
  const capBytes = await peakOf(network, 'plain', storedBatch, options);
  const batch = await largest(
    async (size) => (await peakOf(network, variant, size, options)) <= capBytes,
    storedBatch * 4,
  );
  return { network, variant, storedBatch, capBytes, batch };
}

/** Times the batch that the paper reports. */
const BAR = 4;

await runBenchmark(command, async () => {
  const options = command.opts<Options>();
  const rows: Row[] = [];
  for (const [index, network] of options.networks.entries())
    rows.push(await measureNetwork(network, options.variant[index] ?? 'paper', options));
  const passed = rows.every((row) => row.batch >= BAR * row.storedBatch);
  if (options.json) printJson({ rows, bar: BAR, passed });
  else
    printResult(
      markdownTable(
        ['network', 'recipe', 'stored batch', 'cap, MB', 'reversible batch', 'times'],
        rows.map((row) => [
          row.network,
          row.variant,
          row.storedBatch,
          megabytes(row.capBytes),
          row.batch,
          (row.batch / row.storedBatch).toFixed(2),
        ]),
        2,
      ),
    );
  if (!passed) process.exitCode = EXIT_CLAIM_FAILED;
});
