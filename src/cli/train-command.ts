// revnetify train DIR: run the training step of a folder on data, or measure it.

import { spawn } from 'node:child_process';
import type { Command } from 'commander';
import {
  DEVICES,
  MALLOC_ENVIRONMENT,
  measure,
  needsMallocEnvironment,
  parseSchedule,
  readPlan,
  train,
} from '../../runtime/index.js';
import type {
  CompiledFolder,
  Device,
  Evaluation,
  Progress,
  TrainOptions,
  TrainResult,
} from '../../runtime/index.js';
import { loadCoupled } from '../compiler/index.js';
import { DiagnosticError, EXIT } from '../diagnostics/index.js';
import { ALLOCATORS, recordMeasurement } from '../plan/index.js';
import type { Allocator, PlanMeasurement } from '../plan/index.js';
import { interruptible, passingOn } from './interrupt.js';
import {
  columns,
  formatBytes,
  formatPercent,
  outputOptions,
  printJson,
  printResult,
  remark,
} from './output.js';
import type { OutputOptions } from './output.js';
import { fraction, nonNegative, oneOf, positiveInteger, wholeNumber } from './parse.js';

interface Options {
  readonly data?: string;
  readonly steps?: number;
  readonly epochs?: number;
  readonly lr?: number;
  readonly lrSchedule?: ReturnType<typeof parseSchedule>;
  readonly warmup: number;
  readonly momentum?: number;
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
  readonly weightDecay?: number;
  readonly seed: number;
  readonly device: Device;
  readonly threads?: number;
  readonly augment: boolean;
  readonly evaluate: boolean;
  readonly inPlace: boolean;
  readonly allocator?: Allocator;
  readonly prefetch: boolean;
  readonly log?: string;
  readonly evaluateEvery?: number;
  readonly checkpointEvery?: number;
  readonly checkpointDir?: string;
  readonly resume?: boolean;
  readonly measure?: boolean;
  readonly variant: string;
  readonly record: boolean;
  readonly json?: boolean;
  readonly quiet?: boolean;
}

const DEFAULT_MEASURE_STEPS = 3;

export function addTrainCommand(program: Command): void {
  program
    .command('train')
    .description('train the network in a folder, or measure a few steps of it')
    .argument('<dir>', 'folder made by revnetify MODEL.onnx')
    .option(
      '--data <path>',
      'folder with CIFAR-10 binary files, IDX files or NumPy arrays, or "random"',
    )
    .option('--steps <n>', 'how many steps', positiveInteger('--steps'))
    .option('--epochs <x>', 'how many passes over the data (default 1)', nonNegative('--epochs'))
    .option(
      '--lr <x>',
      'highest learning rate (default: 0.1 for SGD, 0.001 for AdamW)',
      nonNegative('--lr'),
    )
    .option(
      '--lr-schedule <name>',
      'cosine, linear, constant or step:0.5,0.75:0.1 (default: cosine)',
      parseSchedule,
    )
    .option('--warmup <n>', 'steps of linear warm-up', wholeNumber('--warmup'), 0)
    .option('--momentum <x>', 'of SGD (default 0.9)', fraction('--momentum'))
    .option('--beta1 <x>', 'of AdamW (default 0.9)', fraction('--beta1'))
    .option('--beta2 <x>', 'of AdamW (default 0.999)', fraction('--beta2'))
    .option('--epsilon <x>', 'of AdamW (default 1e-8)', nonNegative('--epsilon'))
    .option(
      '--weight-decay <x>',
      'of weights, not of biases and batch norm (default: 5e-4 for SGD, 0.01 for AdamW)',
      nonNegative('--weight-decay'),
    )
    .option('--seed <n>', 'seed of order, augmentation and dropout', wholeNumber('--seed'), 0)
    .option(
      '--device <name>',
      'what runs the steps: cpu, webgpu or cuda (see revnetify doctor)',
      oneOf('--device', DEVICES),
      'cpu',
    )
    .option('--threads <n>', 'threads of ONNX Runtime', positiveInteger('--threads'))
    .option('--no-augment', 'no random crops and flips')
    .option('--no-evaluate', 'do not measure accuracy (or loss) on the test split at the end')
    .option('--no-prefetch', 'prepare batches between steps and not in a second thread')
    .option(
      '--allocator <name>',
      'where tensors get their memory from: pattern or system (default: as the plan says)',
      oneOf('--allocator', ALLOCATORS),
    )
    .option('--no-in-place', 'keep old and new weights apart')
    .option(
      '--evaluate-every <n>',
      'measure accuracy on the test split every n steps too',
      positiveInteger('--evaluate-every'),
    )
    .option('--log <file>', 'write one line per step and evaluation: CSV if called .csv, else JSON')
    .option(
      '--checkpoint-every <n>',
      'write a checkpoint every n steps, after the last, and when interrupted',
      positiveInteger('--checkpoint-every'),
    )
    .option('--checkpoint-dir <dir>', 'where checkpoints are (default: <dir>/checkpoints)')
    .option('--resume', 'continue from the newest checkpoint, bit for bit; if there is none, start')
    .option(
      '--measure',
      'run a few steps on random data in a fresh process and report memory and time',
    )
    .option('--variant <name>', 'what to call the measurement in the plan', 'plan')
    .option('--no-record', 'do not keep the measurement in the plan')
    .option('--json', 'print one JSON object')
    .option('--quiet', 'print nothing but the result')
    .action(async (dir: string, options: Options) => {
      if (options.measure) await measureCommand(dir, options);
      else await trainCommand(dir, options);
    });
}

/** The plan, if rev.onnx is the model it was made with: weights of another one would be trained as if they fitted. */
function checkFolder(dir: string): CompiledFolder {
  const folder = readPlan(dir);
  loadCoupled(dir, folder.plan);
  return folder;
}

async function measureCommand(dir: string, options: Options): Promise<void> {
  if (options.data !== undefined && options.data !== 'random')
    throw new DiagnosticError(
      'usage/option',
      '--measure',
      'it runs on random data; leave --data out',
    );
  const { plan, path } = checkFolder(dir);
  const { losses, measured, secondsPerStep } = await measure(dir, {
    variant: options.variant,
    steps: options.steps ?? DEFAULT_MEASURE_STEPS,
    seed: options.seed,
    inPlace: options.inPlace,
    ...(options.allocator ? { allocator: options.allocator } : {}),
    device: options.device,
    ...(options.threads === undefined ? {} : { threads: options.threads }),
  });
  // The plan predicts memory of this process; a GPU has its own.
  if (options.record && options.device === 'cpu') record(path, measured, outputOptions(options));
  const { peakBytes, activationBytes } = plan.memory.plan;
  const result = {
    losses,
    predicted: { peakBytes, activationBytes },
    measured: { peakBytes: measured.peakBytes, activationBytes: measured.activationBytes },
    secondsPerStep,
  };
  if (options.json) printJson(result);
  else
    printResult(
      [
        `${losses.length} steps, ${secondsPerStep.toFixed(3)} s per step, last loss ${losses.at(-1)?.toFixed(4) ?? '–'}`,
        columns([
          ['', 'predicted', 'measured'],
          ['peak above the loaded model', formatBytes(peakBytes), formatBytes(measured.peakBytes)],
        ]),
      ].join('\n'),
    );
}

/** Settings that are passed on where they are given; the runtime knows the defaults. */
const PASSED = [
  ...(['steps', 'epochs', 'lr', 'momentum', 'beta1', 'beta2', 'epsilon', 'weightDecay'] as const),
  ...(['threads', 'log', 'evaluateEvery', 'checkpointEvery', 'checkpointDir', 'resume'] as const),
];

/** A folder that cannot be written to does not spoil the measurement. */
function record(path: string, measured: PlanMeasurement, out: OutputOptions): void {
  try {
    recordMeasurement(path, measured);
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    remark(`note: the measurement is not kept in the plan: ${why}`, out);
  }
}

function trainOptions(options: Options, data: string): TrainOptions {
  return {
    data,
    lrSchedule: options.lrSchedule ?? parseSchedule('cosine'),
    warmup: options.warmup,
    seed: options.seed,
    evaluate: options.evaluate,
    inPlace: options.inPlace,
    ...(options.allocator ? { allocator: options.allocator } : {}),
    device: options.device,
    prefetch: options.prefetch,
    ...(options.augment ? {} : { augment: false }),
    ...Object.fromEntries(
      PASSED.filter((name) => options[name] !== undefined).map((name) => [name, options[name]]),
    ),
  };
}

const describeEvaluation = ({ accuracy, loss = NaN }: Evaluation): string =>
  accuracy === undefined
    ? `test loss ${loss.toPrecision(5)}`
    : `test accuracy ${formatPercent(accuracy)}`;

const describeProgress = (p: Progress): string =>
  `step ${p.step}/${p.steps}  loss ${p.loss.toFixed(4)}${p.accuracy === undefined ? '' : `  accuracy ${formatPercent(p.accuracy)}`}  lr ${p.learningRate.toPrecision(3)}  ${p.imagesPerSecond.toFixed(0)} images/s  ${formatBytes(p.peakBytes)} resident`;

async function trainCommand(dir: string, options: Options): Promise<void> {
  const out = outputOptions(options);
  const { data } = options;
  if (data === undefined)
    throw new DiagnosticError(
      'usage/option',
      '--data',
      'training needs data',
      'pass --data FOLDER, or --measure to only measure a few steps',
    );
  checkFolder(dir);
  if (options.device === 'cpu' && needsMallocEnvironment(readPlan(dir).plan)) {
    process.exitCode = await startAgain();
    return;
  }
  endWithParent();
  const abort = new AbortController();
  const stop = (): void => {
    remark('interrupted: finishing the step and writing the model', out);
    abort.abort();
  };
  const result = await interruptible(stop, () =>
    train(dir, trainOptions(options, data), {
      signal: abort.signal,
      progress: (p) => {
        remark(describeProgress(p), out);
      },
      evaluated: (step, evaluation) => {
        remark(`step ${step}: ${describeEvaluation(evaluation)}`, out);
      },
      note: (text) => {
        remark(`note: ${text}`, out);
      },
    }),
  );
  if (out.json) printJson(result);
  else printResult(describeTraining(result));
  if (result.interrupted) process.exitCode = EXIT.interrupted;
}

/** Says to a process that startAgain() has made it: another that starts this program may have a channel to it as well. */
const STARTED_AGAIN = 'REVNETIFY_STARTED_AGAIN';

/** In the process that startAgain() has made: nobody is left to interrupt it once the other is killed. */
function endWithParent(): void {
  if (!process.channel || process.env[STARTED_AGAIN] === undefined) return;
  process.once('disconnect', () => process.exit(EXIT.interrupted));
  process.channel.unref();
}

/** Runs this very command in a process whose allocator is set up for large steps. Resolves to its exit code. */
function startAgain(): Promise<number> {
  const child = spawn(process.execPath, [...process.execArgv, ...process.argv.slice(1)], {
    // The channel says when this process is gone, however it went.
    stdio: ['inherit', 'inherit', 'inherit', 'ipc'],
    env: { ...process.env, ...MALLOC_ENVIRONMENT, [STARTED_AGAIN]: '1' },
    // In a process group of its own: signals reach it once, and from here, whoever sent them.
    detached: true,
  });
  const pass = (signal: NodeJS.Signals): void => {
    child.kill(signal);
  };
  for (const signal of ['SIGTERM', 'SIGHUP'] as const) process.once(signal, pass);
  const ended = (): Promise<number> =>
    new Promise((resolve, reject) => {
      child.once('error', reject);
      child.once('exit', (code, signal) => {
        resolve(code ?? (signal === 'SIGINT' ? EXIT.interrupted : EXIT.internal));
      });
    });
  return passingOn(() => child.kill('SIGINT'), ended);
}

function describeTraining(r: TrainResult): string {
  const lines = [
    `trained ${r.steps} steps in ${r.seconds.toFixed(1)} s (${r.imagesPerSecond.toFixed(0)} images/s), last loss ${r.losses.at(-1)?.toFixed(4) ?? '–'}`,
  ];
  if (r.evaluation) lines.push(describeEvaluation(r.evaluation));
  if (r.deviceMemory)
    lines.push(
      `about ${formatBytes(r.deviceMemory.bytes)} of the memory of ${r.deviceMemory.device} (an estimate: ONNX Runtime does not tell)`,
    );
  if (r.model !== undefined) lines.push(`wrote ${r.model}`);
  if (r.checkpoint !== undefined) lines.push(`newest checkpoint ${r.checkpoint}`);
  return lines.join('\n');
}
