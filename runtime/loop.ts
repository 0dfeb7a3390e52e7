// The loop of a training. In: a step at some point of its training, batches, settings. Out: one loss per step, log rows,
// reports, evaluations and checkpoints when they are due. Invariant: what a step does depends on its number and the
// state alone, so that a training continued from a checkpoint writes the same log.

import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Feed } from './data/index.js';
import type { Evaluation } from './evaluate.js';
import type { TrainingLog } from './log.js';
import { lifetimePeakBytes } from './memory.js';
import type { OptimizerSettings } from './optimizer.js';
import type { Settings } from './options.js';
import { learningRate } from './schedule.js';
import type { TrainingStep } from './step.js';

export interface Progress {
  /** Steps done, of `steps`. */
  readonly step: number;
  readonly steps: number;
  /** Counted from 0. */
  readonly epoch: number;
  /** Means over the steps since the last report. */
  readonly loss: number;
  /** Of the labels that count. Absent where the loss is a squared error. */
  readonly accuracy?: number;
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
  /** Told of each evaluation before the last. */
  readonly evaluated?: (step: number, evaluation: Evaluation) => void;
  /** Things a user should know, in plain words. */
  readonly note?: (text: string) => void;
  /** When it is aborted, the step under way is finished and the model is written. */
  readonly signal?: AbortSignal;
}

/** Something to do after every so many steps. */
export interface Due<T> {
  readonly every: number;
  readonly run: T;
}

export interface Loop {
  readonly step: TrainingStep;
  readonly feed: Feed;
  /** Samples of one step. */
  readonly batch: number;
  readonly settings: Settings;
  readonly hooks: TrainHooks;
  readonly log: TrainingLog | undefined;
  /** Of the steps done before this process. */
  readonly losses: number[];
  readonly secondsBefore: number;
  readonly evaluate: Due<(step: number) => Promise<Evaluation>> | undefined;
  readonly checkpoint: Due<(losses: readonly number[], seconds: number) => void> | undefined;
}

export interface Ran {
  /** One per step, those before this process too. */
  readonly losses: readonly number[];
  readonly seconds: number;
  /** Steps done by this process, and how long they took. */
  readonly own: { readonly steps: number; readonly seconds: number };
  readonly interrupted: boolean;
}

export async function runLoop(loop: Loop): Promise<Ran> {
  const { batch, settings, hooks, log, losses, evaluate, checkpoint } = loop;
  const { steps, lr, shape, warmup, optimizer } = settings;
  const schedule = { shape, rate: lr, steps, warmup };
  const { classAxis } = loop.step.plan.assumptions;
  const window = new Window(batch, classAxis !== null);
  const every = hooks.every ?? 10;
  const before = losses.length;
  const start = performance.now();
  const spent = (): number => (performance.now() - start) / 1000;
  const aborted = (): boolean => hooks.signal?.aborted === true;
  while (losses.length < steps && !aborted()) {
    // Here and not after the step, so that a training continued from a checkpoint of that step does it too. The last
    // evaluation is that of the model that is written.
    if (evaluate && losses.length > 0 && losses.length % evaluate.every === 0) {
      const evaluation = await evaluate.run(losses.length);
      log?.write({ step: losses.length, evaluation });
      hooks.evaluated?.(losses.length, evaluation);
    }
    const began = performance.now();
    const rate = learningRate(schedule, losses.length);
    const { epoch, loss, correct, waited } = await oneStep(loop, {
      learningRate: rate,
      ...optimizer,
    });
    const done = losses.push(loss);
    window.add(loss, correct);
    const seconds = (performance.now() - began) / 1000;
    const accuracy = classAxis === null ? {} : { accuracy: correct / batch };
    log?.write({ step: done, epoch, loss, ...accuracy, learningRate: rate, seconds, waited });
    // A step blocks this thread: without a turn of the event loop no signal would ever be seen.
    await nextTurn();
    if (done % every === 0 || done === steps || aborted()) {
      const common = { step: done, steps, epoch, learningRate: rate };
      hooks.progress?.({ ...common, ...window.take(), peakBytes: lifetimePeakBytes() });
    }
    if (checkpoint && (done % checkpoint.every === 0 || done === steps || aborted())) {
      await loop.step.checkFinite();
      checkpoint.run(losses, loop.secondsBefore + spent());
    }
  }
  const seconds = spent();
  return {
    losses,
    seconds: loop.secondsBefore + seconds,
    own: { steps: losses.length - before, seconds },
    interrupted: losses.length < steps,
  };
}

/** All batches of one update: the mean of their losses, rounded as a single loss is. */
async function oneStep(
  { step, feed }: Loop,
  settings: OptimizerSettings & { readonly learningRate: number },
): Promise<{ epoch: number; loss: number; correct: number; waited: number }> {
  const sum = { epoch: 0, loss: 0, correct: 0, waited: 0 };
  for (let part = 0; part < step.accumulate; part++) {
    const began = performance.now();
    const { images, labels, sides = {}, epoch } = await feed.next();
    sum.waited += (performance.now() - began) / 1000;
    const { loss, correct } = await step.run({ images, labels, sides, ...settings });
    if (part === 0) sum.epoch = epoch;
    sum.loss += loss / step.accumulate;
    sum.correct += correct;
  }
  return { ...sum, loss: Math.fround(sum.loss) };
}

/** Sums since the last report. */
class Window {
  private steps = 0;
  private loss = 0;
  private correct = 0;
  private since = performance.now();

  /** @param counts whether there are correct answers to count */
  constructor(
    private readonly batch: number,
    private readonly counts: boolean,
  ) {}

  add(loss: number, correct: number): void {
    this.steps++;
    this.loss += loss;
    this.correct += correct;
  }

  take(): Pick<Progress, 'loss' | 'accuracy' | 'imagesPerSecond'> {
    const now = performance.now();
    const images = this.steps * this.batch;
    const report = {
      loss: this.loss / this.steps,
      ...(this.counts ? { accuracy: this.correct / images } : {}),
      imagesPerSecond: (images * 1000) / Math.max(now - this.since, 1e-3),
    };
    this.steps = 0;
    this.loss = 0;
    this.correct = 0;
    this.since = now;
    return report;
  }
}
