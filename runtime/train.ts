// A whole training. In: a compiled folder, a data set, settings. Out: the trained inference model beside the plan and
// what there is to say about it. Invariant: folder, data, settings and machine determine every loss, bit for bit,
// whether or not the training was cut off and continued; an interrupted training still writes its model.

import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { DiagnosticError } from '../src/diagnostics/index.js';
import type { Plan } from '../src/plan/index.js';
import { Checkpoints } from './checkpoint.js';
import type { Checkpoint, Standing } from './checkpoint.js';
import { canPrefetch, closeDataset, loadDataset, openFeed, openPrefetch } from './data/index.js';
import type { Dataset, Feed, Normalisation } from './data/index.js';
import { deviceMemory } from './device/memory.js';
import type { DeviceMemory } from './device/memory.js';
import { evaluateModel } from './evaluate.js';
import type { Evaluation } from './evaluate.js';
import { identityOf } from './identity.js';
import { TrainingLog } from './log.js';
import { runLoop } from './loop.js';
import type { Ran, TrainHooks } from './loop.js';
import { lifetimePeakBytes } from './memory.js';
import { checkOptions, settle } from './options.js';
import type { Settings, TrainOptions } from './options.js';
import { batchShape, inputOf, readPlan } from './plan.js';
import { threadCount } from './session.js';
import { TrainingStep } from './step.js';
import { writeTrained } from './trained.js';

export interface TrainResult {
  /** Steps done, those before a resumed training was cut off too. */
  readonly steps: number;
  /** One per step. */
  readonly losses: readonly number[];
  /** Of all steps; without pauses between processes. */
  readonly seconds: number;
  /** Of the steps this process has done. */
  readonly imagesPerSecond: number;
  /** The most this process has had resident. */
  readonly peakBytes: number;
  /** Of a device with memory of its own. */
  readonly deviceMemory?: DeviceMemory;
  /** The trained inference model; absent when not one step was done. */
  readonly model?: string;
  /** Whether the signal ended the training; there is no evaluation then. */
  readonly interrupted: boolean;
  readonly evaluation?: Evaluation;
  /** Where a resumed training has continued: the step of its checkpoint. */
  readonly resumedFrom?: number;
  /** The newest checkpoint. */
  readonly checkpoint?: string;
}

/** What stays the same over a training. */
interface Run {
  readonly dir: string;
  readonly plan: Plan;
  readonly options: TrainOptions;
  readonly settings: Settings;
  readonly feed: Feed;
  readonly test: Dataset | undefined;
  readonly hooks: TrainHooks;
  readonly checkpoints: Checkpoints | undefined;
  readonly from: Checkpoint | undefined;
}

/**
 * Trains the network compiled into a folder.
 * @throws DiagnosticError train/invalid, train/diverged, data/invalid, checkpoint/…, usage/option, usage/output,
 * runtime/missing
 */
export async function train(
  dir: string,
  options: TrainOptions,
  hooks: TrainHooks = {},
): Promise<TrainResult> {
  checkOptions(options);
  const { plan } = readPlan(dir);
  const wanted = batchShape(plan);
  const { optimizer, accumulate } = plan.assumptions;
  const request = {
    data: options.data,
    wanted,
    batch: wanted.batch,
    seed: options.seed ?? 0,
    ...(options.augment === undefined ? {} : { augment: options.augment }),
  };
  const prefetch = (options.prefetch ?? true) && canPrefetch;
  const feed = prefetch ? await openPrefetch(request) : openFeed(request);
  let test: Dataset | undefined;
  try {
    // Before the training and not after it: a missing test split should not cost a night.
    test = (options.evaluate ?? true) ? loadDataset(options.data, 'test', wanted) : undefined;
    const settings = settle(options, optimizer, feed.facts.count, samplesPerStep(plan));
    const checkpoints = openCheckpoints(dir, plan, options, { ...settings, data: feed.facts });
    const from = options.resume ? resume(checkpoints, options, hooks) : undefined;
    feed.start((from?.step ?? 0) * accumulate);
    const run = { dir, plan, options, settings, feed, test, hooks, checkpoints, from };
    const log =
      options.log === undefined
        ? undefined
        : TrainingLog.open(options.log, from?.logBytes ?? undefined);
    try {
      return await trainOn(run, log);
    } finally {
      log?.close();
    }
  } finally {
    if (test) closeDataset(test);
    await feed.close();
  }
}

function openCheckpoints(
  dir: string,
  plan: Plan,
  options: TrainOptions,
  facts: Readonly<Record<string, unknown>>,
): Checkpoints | undefined {
  if (options.checkpointEvery === undefined && !options.resume) return undefined;
  const at = options.checkpointDir ?? join(dir, 'checkpoints');
  const checkpoints = new Checkpoints(at, plan, identityOf(dir, plan, facts));
  const newest = checkpoints.newest();
  if (newest !== undefined && !options.resume)
    throw new DiagnosticError('checkpoint/exists', at, `the newest is ${newest}`);
  checkpoints.tidy();
  return checkpoints;
}

function resume(
  checkpoints: Checkpoints | undefined,
  { threads, device = 'cpu' }: TrainOptions,
  { note }: TrainHooks,
): Checkpoint | undefined {
  const from = checkpoints?.load((path, why) => note?.(`${path} is skipped: ${why}`));
  if (!from) {
    note?.(`no checkpoint in ${checkpoints?.dir ?? ''}: starting from the beginning`);
    return undefined;
  }
  note?.(`continuing after step ${from.step}`);
  if ((from.device ?? 'cpu') !== device)
    note?.(
      `the checkpoint was made on ${from.device ?? 'cpu'}, now ${device}: losses may differ in the last bits`,
    );
  if (from.threads !== threadCount(threads))
    note?.(
      `the checkpoint was made with ${from.threads} threads, now ${threadCount(threads)}: losses may differ in the last bits`,
    );
  return from;
}

async function trainOn(run: Run, log: TrainingLog | undefined): Promise<TrainResult> {
  const { dir, plan, options, feed, test, from } = run;
  const step = await TrainingStep.open(dir, plan, {
    ...session(options),
    device: options.device ?? 'cpu',
    ...(options.allocator ? { allocator: options.allocator } : {}),
    inPlace: options.inPlace ?? true,
    seed: run.settings.seed,
    ...(from ? { state: from.state, steps: from.step } : {}),
  });
  let ran: Ran;
  let model: string | undefined;
  try {
    ran = await runSteps(run, step, log);
    await step.checkFinite();
    // Interrupted before the first step there is nothing new to write, perhaps an earlier result to keep.
    if (ran.losses.length > 0)
      model = writeTrained(dir, plan, valuesOf(step), {
        steps: ran.losses.length,
        normalise: feed.facts.normalise,
      });
  } catch (error) {
    throw withCheckpoint(error, run.checkpoints?.newest());
  } finally {
    await step.dispose();
  }
  const evaluation =
    test && model !== undefined && !ran.interrupted
      ? await evaluate(model, plan, test, feed.facts.normalise, options)
      : undefined;
  if (evaluation) log?.write({ step: ran.losses.length, evaluation });
  const checkpoint = run.checkpoints?.newest();
  const { own, ...whole } = ran;
  const onDevice = deviceMemory(plan, options.device ?? 'cpu');
  const images = own.steps * samplesPerStep(plan);
  return {
    ...whole,
    steps: ran.losses.length,
    imagesPerSecond: own.seconds > 0 ? images / own.seconds : 0,
    peakBytes: lifetimePeakBytes(),
    ...(onDevice ? { deviceMemory: onDevice } : {}),
    ...(model === undefined ? {} : { model }),
    ...(evaluation ? { evaluation } : {}),
    ...(from ? { resumedFrom: from.step } : {}),
    ...(checkpoint === undefined ? {} : { checkpoint }),
  };
}

/** Names the last checkpoint, all of whose values are finite, where a training has diverged. */
function withCheckpoint(error: unknown, newest: string | undefined): unknown {
  if (!(error instanceof DiagnosticError) || error.code !== 'train/diverged') return error;
  if (newest === undefined) return error;
  const { code, where, why, hint } = error;
  return new DiagnosticError(code, where, why, `${hint}; the last good checkpoint is ${newest}`);
}

function runSteps(run: Run, step: TrainingStep, log: TrainingLog | undefined): Promise<Ran> {
  const { plan, options, settings, feed, hooks, test, checkpoints, from } = run;
  const { checkpointEvery, evaluateEvery } = options;
  const standing = (steps: number, seconds: number, logBytes: number | null): Standing => ({
    ...{ step: steps, seconds, logBytes, threads: threadCount(options.threads) },
    ...(options.device === undefined || options.device === 'cpu' ? {} : { device: options.device }),
  });
  return runLoop({
    step,
    feed,
    batch: samplesPerStep(plan),
    settings,
    hooks,
    log,
    losses: [...(from?.losses ?? [])],
    secondsBefore: from?.seconds ?? 0,
    evaluate:
      test && evaluateEvery !== undefined
        ? { every: evaluateEvery, run: (done) => evaluateNow(run, step, test, done) }
        : undefined,
    checkpoint:
      checkpoints && checkpointEvery !== undefined
        ? {
            every: checkpointEvery,
            run: (losses, seconds) => {
              checkpoints.save(step, standing(losses.length, seconds, log?.sync() ?? null), losses);
            },
          }
        : undefined,
  });
}

const samplesPerStep = (plan: Plan): number => batchShape(plan).batch * plan.assumptions.accumulate;

const session = ({ threads }: TrainOptions): { threads?: number } =>
  threads === undefined ? {} : { threads };

const valuesOf = (step: TrainingStep): Map<string, Float32Array> =>
  new Map([...step.weights(), ...step.statistics()]);

/** How good the weights are as they are, by way of a model that is not kept. */
async function evaluateNow(
  { dir, plan, feed, options }: Run,
  step: TrainingStep,
  test: Dataset,
  steps: number,
): Promise<Evaluation> {
  await step.download();
  const { normalise } = feed.facts;
  // Always the same: what a killed training leaves is overwritten by the next one.
  const folder = join(dir, '.evaluation');
  try {
    mkdirSync(folder, { recursive: true });
    const model = writeTrained(dir, plan, valuesOf(step), { steps, normalise }, folder);
    return await evaluate(model, plan, test, normalise, options);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

async function evaluate(
  path: string,
  plan: Plan,
  test: Dataset,
  normalise: Normalisation,
  options: TrainOptions,
): Promise<Evaluation> {
  const { name, shape } = inputOf(plan, 'images');
  const { ignoreIndex } = plan.assumptions;
  return evaluateModel(path, test, normalise, {
    ...session(options),
    input: { name, shape },
    sides: batchShape(plan).sides ?? [],
    output: plan.outputs.network,
    classAxis: plan.assumptions.classAxis,
    ...(ignoreIndex === null ? {} : { ignoreIndex }),
  });
}
