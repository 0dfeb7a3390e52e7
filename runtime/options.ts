// The settings of a training. In: what the caller gave. Out: every setting with a value that can be used.
// Invariant: a setting that makes no sense is refused before anything is loaded.

import { DiagnosticError } from '../src/diagnostics/index.js';
import type { Allocator } from '../src/plan/index.js';
import type { Augment } from './data/index.js';
import { DEVICES } from './device/provider.js';
import type { Device } from './device/provider.js';
import { DEFAULT_RATE, completeSettings } from './optimizer.js';
import type { OptimizerName, OptimizerSettings } from './optimizer.js';
import type { ScheduleShape } from './schedule.js';

export interface TrainOptions extends OptimizerSettings {
  /** A folder with CIFAR-10 files, IDX files or NumPy arrays, or `random`. */
  readonly data: string;
  /** How long to train: steps, or else epochs (may be a fraction). Default: one epoch. */
  readonly steps?: number;
  readonly epochs?: number;
  /** Highest learning rate. Default 0.1 for SGD, 0.001 for AdamW. */
  readonly lr?: number;
  /** Default cosine. */
  readonly lrSchedule?: ScheduleShape;
  /** Steps of linear warm-up. Default 0. */
  readonly warmup?: number;
  /** Seed of the order, of augmentation and of dropout. Default 0. */
  readonly seed?: number;
  /** true: random crops out of 4 pixels of padding, and flips. Default: so for 32×32 colour images, else none. */
  readonly augment?: boolean | Augment;
  /** What runs the steps; evaluation always runs on the CPU. Default: the CPU. */
  readonly device?: Device;
  /** Default: the number of cores. */
  readonly threads?: number;
  /** Measure the trained model on the test split at the end. Default true. */
  readonly evaluate?: boolean;
  /** Prepare the next batch in a second thread while a step runs. Default true; the batches are the same. */
  readonly prefetch?: boolean;
  /** Default true; false keeps old and new weights apart, and takes more memory. */
  readonly inPlace?: boolean;
  /** Where tensors get their memory from. Default: as the plan says. */
  readonly allocator?: Allocator;
  /** A file for one line per step: CSV where its name ends in .csv, else JSON. */
  readonly log?: string;
  /** Measure accuracy on the test split after every so many steps too. */
  readonly evaluateEvery?: number;
  /** Write a checkpoint after every so many steps, after the last, and when interrupted. */
  readonly checkpointEvery?: number;
  /** Default: checkpoints/ in the folder. */
  readonly checkpointDir?: string;
  /** Continue from the newest checkpoint; where there is none, start from the beginning. */
  readonly resume?: boolean;
}

export interface Settings {
  readonly steps: number;
  readonly lr: number;
  readonly shape: ScheduleShape;
  readonly warmup: number;
  readonly seed: number;
  readonly optimizer: OptimizerSettings;
}

/** @throws DiagnosticError usage/option */
export function settle(
  options: TrainOptions,
  name: OptimizerName,
  samples: number,
  batch: number,
): Settings {
  checkOptions(options);
  const { epochs = 1 } = options;
  const steps = options.steps ?? Math.max(1, Math.ceil((epochs * samples) / batch));
  return {
    steps,
    lr: options.lr ?? DEFAULT_RATE[name],
    shape: options.lrSchedule ?? { kind: 'cosine' },
    warmup: Math.min(options.warmup ?? 0, steps),
    seed: options.seed ?? 0,
    optimizer: completeSettings(name, options),
  };
}

/** @throws DiagnosticError usage/option */
export function checkOptions(options: TrainOptions): void {
  const bad = (name: string, value: unknown, wanted: string): DiagnosticError =>
    new DiagnosticError('usage/option', name, `${String(value)} is not ${wanted}`);
  const { steps, epochs, lr, weightDecay, epsilon, warmup, seed } = options;
  if (steps !== undefined && epochs !== undefined)
    throw new DiagnosticError('usage/option', 'steps', 'steps and epochs are both given');
  if (steps !== undefined && !(Number.isSafeInteger(steps) && steps > 0))
    throw bad('steps', steps, 'a positive whole number');
  if (epochs !== undefined && !(Number.isFinite(epochs) && epochs > 0))
    throw bad('epochs', epochs, 'a positive number');
  if (lr !== undefined && !(Number.isFinite(lr) && lr > 0))
    throw bad('learning rate', lr, 'a positive number');
  for (const name of ['momentum', 'beta1', 'beta2'] as const) {
    const value = options[name];
    if (value !== undefined && !(value >= 0 && value < 1))
      throw bad(name, value, 'a number from 0 up to, not including, 1');
  }
  if (epsilon !== undefined && !(Number.isFinite(epsilon) && epsilon > 0))
    throw bad('epsilon', epsilon, 'a positive number');
  if (weightDecay !== undefined && !(Number.isFinite(weightDecay) && weightDecay >= 0))
    throw bad('weight decay', weightDecay, 'a number from 0 upwards');
  if (warmup !== undefined && !(Number.isSafeInteger(warmup) && warmup >= 0))
    throw bad('warm-up', warmup, 'a whole number from 0 upwards');
  for (const name of ['evaluateEvery', 'checkpointEvery'] as const) {
    const value = options[name];
    if (value !== undefined && !(Number.isSafeInteger(value) && value > 0))
      throw bad(name, value, 'a positive whole number');
  }
  const { device = 'cpu' } = options;
  if (!DEVICES.includes(device)) throw bad('device', device, `one of ${DEVICES.join(', ')}`);
  if (seed !== undefined && !Number.isSafeInteger(seed)) throw bad('seed', seed, 'a whole number');
}
