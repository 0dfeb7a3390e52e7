// Whether batches are prepared while steps run. In: a shipped network, trained for a few steps on CIFAR-shaped noise with
// crops and flips, with and without the second thread. Out: how long a step took and how long it waited for its
// batch. Claims: the waiting goes away, and not one loss changes.

import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { train } from '../runtime/index.js';
import { positiveInteger } from '../src/cli/parse.js';
import { compile, writeFolder } from '../src/compiler/index.js';
import { readModel } from '../src/onnx/index.js';
import { EXIT_CLAIM_FAILED, benchmark, threadsOf } from './lib/command.js';
import type { CommonOptions } from './lib/command.js';
import { median } from './lib/median.js';
import { markdownTable } from './lib/table.js';

interface Options extends CommonOptions {
  readonly batch: number;
  readonly steps: number;
}

interface Row {
  readonly prefetch: boolean;
  readonly secondsPerStep: number;
  readonly waitedPerStep: number;
  readonly losses: readonly number[];
}

async function measured(dir: string, prefetch: boolean, options: Options): Promise<Row> {
  const log = join(dir, `${prefetch ? 'with' : 'without'}.jsonl`);
  const { losses } = await train(dir, {
    ...{ data: 'random', steps: options.steps, augment: true, evaluate: false, prefetch, log },
    ...threadsOf(options),
  });
  const rows = readFileSync(log, 'utf8')
    .trimEnd()
    .split('\n')
    .map((line) => JSON.parse(line) as { seconds: number; waited: number })
    // The first step waits for the first batch in any case.
    .slice(1);
  return {
    prefetch,
    secondsPerStep: median(rows.map((r) => r.seconds)),
    waitedPerStep: median(rows.map((r) => r.waited)),
    losses,
  };
}

const milliseconds = (seconds: number): string => (1000 * seconds).toFixed(2);

const program = benchmark('bench-feed', 'batches prepared while steps run, and between them')
  .option('--batch <n>', 'batch size', positiveInteger('--batch'), 128)
  .option('--steps <n>', 'steps each', positiveInteger('--steps'), 30);
await program.parseAsync();
const options = program.opts<Options>();
const dir = mkdtempSync(join(tmpdir(), 'bench-feed-'));
try {
  const source = fileURLToPath(new URL('../../fixtures/resnet20.onnx', import.meta.url));
  const { batch } = options;
  writeFolder(compile(readModel(source), { name: 'resnet20', source, batch }), dir);
  const rows = [await measured(dir, false, options), await measured(dir, true, options)];
  const [without, withThread] = rows;
  const same = without?.losses.join() === withThread?.losses.join();
  if (options.json) process.stdout.write(`${JSON.stringify({ rows, same }, null, 2)}\n`);
  else
    process.stdout.write(
      `${markdownTable(
        ['batches prepared', 'ms per step', 'of these waiting for data'],
        rows.map((r) => [
          r.prefetch ? 'while the step runs' : 'between steps',
          milliseconds(r.secondsPerStep),
          milliseconds(r.waitedPerStep),
        ]),
      )}\n\nlosses equal: ${same ? 'yes' : 'NO'}\n`,
    );
  const hidden = (withThread?.waitedPerStep ?? NaN) < 0.5 * (without?.waitedPerStep ?? NaN);
  if (!same || !hidden) process.exitCode = EXIT_CLAIM_FAILED;
} finally {
  rmSync(dir, { recursive: true, force: true });
}
