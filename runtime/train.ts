// A whole training. In: a compiled folder, a data set, settings. Out: the trained inference model beside the plan and
// what there is to say about it. Invariant: folder, data, settings and machine determine every loss, bit for bit;
// an interrupted training still writes its model.

import { prefersArena } from './allocator.js';
import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Plan } from '../src/plan/index.js';
import { BatchLoader, loadDataset, measureNormalisation } from './data/index.js';
import type { Dataset, Normalisation } from './data/index.js';
import { evaluateModel } from './evaluate.js';
import type { Evaluation } from './evaluate.js';
import { JsonLines } from './log.js';
import { lifetimePeakBytes } from './memory.js';
import { checkOptions, chooseAugment, settle } from './options.js';
import type { Settings, TrainOptions } from './options.js';
import { batchShape, inputOf, readPlan } from './plan.js';
import { learningRate } from './schedule.js';
import { TrainingStep } from './step.js';
import { writeTrained } from './trained.js';

export interface Progress {
  /** Steps done, of `steps`. */
  readonly step: number;
  readonly steps: number;
  /** Counted from 0. */
  readonly epoch: number;
  /** Means over the steps since the last report. */
  readonly loss: number;
  readonly accuracy: number;
  readonly imagesPerSecond: number;
  /** Rate of the last step. */
  readonly learningRate: number;
  /** The most this process has had resident so far. */
  readonly peakBytes: number;
}

export interface TrainHooks {
  readonly progress?: (progress: Progress) => void;
  /** Steps between two reports; the last step is always reported. Default 10. */
  readonly every?: number;
  /** When it is aborted, the step under way is finished and the model is written. */
  readonly signal?: AbortSignal;
}

export interface TrainResult {
  /** Steps done. */
  readonly steps: number;
  /** One per step. */
  readonly losses: readonly number[];
  readonly seconds: number;
  readonly imagesPerSecond: number;
  /** The most this process has had resident. */
  readonly peakBytes: number;
  /** The trained inference model; absent when not one step was done. */
  readonly model?: string;
  /** Whether the signal ended the training; there is no evaluation then. */
  readonly interrupted: boolean;
  readonly evaluation?: Evaluation;
}

/**
 * Trains the network compiled into a folder.
 * @throws DiagnosticError train/invalid, train/diverged, data/invalid, usage/option, usage/output, runtime/missing
 */
export async function train(
  dir: string,
  options: TrainOptions,
  hooks: TrainHooks = {},
): Promise<TrainResult> {
  checkOptions(options);
  const { plan } = readPlan(dir);
  const wanted = batchShape(plan);
  const data = loadDataset(options.data, 'train', wanted);
  // Before the training and not after it: a missing test split should not cost a night.
  const test = (options.evaluate ?? true) ? loadDataset(options.data, 'test', wanted) : undefined;
  const settings = settle(options, data.count, wanted.batch);
  const normalise = measureNormalisation(data);
  const log = options.log === undefined ? undefined : new JsonLines(options.log);
  try {
    const session = options.threads === undefined ? {} : { threads: options.threads };
    const step = await TrainingStep.open(dir, plan, {
      ...session,
      arena: options.arena ?? prefersArena(plan),
      inPlace: options.inPlace ?? true,
    });
    let ran: Ran;
    let model: string | undefined;
    try {
      const loader = new BatchLoader(data, {
        batch: wanted.batch,
        seed: settings.seed,
        augment: chooseAugment(options, data),
        normalise,
      });
      ran = await runSteps(step, loader, settings, hooks, log);
      await step.download();
      const values = new Map([...step.weights(), ...step.statistics()]);
      // Interrupted before the first step there is nothing new to write, perhaps an earlier result to keep.
      model =
        ran.losses.length > 0
          ? writeTrained(dir, plan, values, { steps: ran.losses.length, normalise })
          : undefined;
    } finally {
      await step.dispose();
    }
    const evaluation =
      test && model !== undefined && !ran.interrupted
        ? await evaluate(model, plan, test, normalise, session)
        : undefined;
    if (evaluation) log?.write({ evaluation });
    const images = ran.losses.length * wanted.batch;
    return {
      ...ran,
      steps: ran.losses.length,
      imagesPerSecond: ran.seconds > 0 ? images / ran.seconds : 0,
      peakBytes: lifetimePeakBytes(),
      ...(model === undefined ? {} : { model }),
      ...(evaluation ? { evaluation } : {}),
    };
  } finally {
    log?.close();
  }
}

interface Ran {
  readonly losses: readonly number[];
  readonly seconds: number;
  readonly interrupted: boolean;
}

async function runSteps(
  step: TrainingStep,
  loader: BatchLoader,
  settings: Settings,
  hooks: TrainHooks,
  log: JsonLines | undefined,
): Promise<Ran> {
  const { steps, lr, shape, warmup, momentum, weightDecay } = settings;
  const schedule = { shape, rate: lr, steps, warmup };
  const { batch, images, labels } = buffersOf(step.plan);
  const window = new Window(batch);
  const every = hooks.every ?? 10;
  const losses: number[] = [];
  const start = performance.now();
  while (losses.length < steps && !hooks.signal?.aborted) {
    const began = performance.now();
    const { epoch } = loader.next({ images, labels });
    const rate = learningRate(schedule, losses.length);
    const settingsOfStep = { learningRate: rate, momentum, weightDecay };
    const { loss, correct } = await step.run({ images, labels, ...settingsOfStep });
    losses.push(loss);
    window.add(loss, correct);
    log?.write({
      step: losses.length,
      epoch,
      loss,
      accuracy: correct / batch,
      learningRate: rate,
      seconds: (performance.now() - began) / 1000,
    });
    // A step blocks this thread: without a turn of the event loop no signal would ever be seen.
    await nextTurn();
    if (losses.length % every === 0 || losses.length === steps || hooks.signal?.aborted) {
      const common = { step: losses.length, steps, epoch, learningRate: rate };
      hooks.progress?.({ ...common, ...window.take(), peakBytes: lifetimePeakBytes() });
    }
  }
  const seconds = (performance.now() - start) / 1000;
  return { losses, seconds, interrupted: losses.length < steps };
}

function buffersOf(plan: Plan): { batch: number; images: Float32Array; labels: BigInt64Array } {
  const { batch, channels, height, width } = batchShape(plan);
  return {
    batch,
    images: new Float32Array(batch * channels * height * width),
    labels: new BigInt64Array(batch),
  };
}

/** Sums since the last report. */
class Window {
  private steps = 0;
  private loss = 0;
  private correct = 0;
  private since = performance.now();

  constructor(private readonly batch: number) {}

  add(loss: number, correct: number): void {
    this.steps++;
    this.loss += loss;
    this.correct += correct;
  }

  take(): { loss: number; accuracy: number; imagesPerSecond: number } {
    const now = performance.now();
    const images = this.steps * this.batch;
    const report = {
      loss: this.loss / this.steps,
      accuracy: this.correct / images,
      imagesPerSecond: (images * 1000) / Math.max(now - this.since, 1e-3),
    };
    this.steps = 0;
    this.loss = 0;
    this.correct = 0;
    this.since = now;
    return report;
  }
}

async function evaluate(
  path: string,
  plan: Plan,
  test: Dataset,
  normalise: Normalisation,
  session: { threads?: number },
): Promise<Evaluation> {
  const { name, shape } = inputOf(plan, 'images');
  return evaluateModel(path, test, normalise, {
    ...session,
    input: { name, shape },
    output: plan.outputs.logits,
  });
}
