// The measuring process (see measure.ts). In: one message with the job. Out: one message with the answer.
// Invariant: between the base and the last step nothing is loaded or allocated that a training would not need.

import { cpus, platform, release } from 'node:os';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { DiagnosticError } from '../src/diagnostics/index.js';
import { BatchLoader, buffersOf, loadDataset, measureNormalisation } from './data/index.js';
import { collectGarbage, startPeakMeter } from './memory.js';
import type { MeasureAnswer, MeasureJob, Measurement } from './measure.js';
import { batchShape, readPlan } from './plan.js';
import { loadRuntime, messageOf, threadCount } from './session.js';
import { TrainingStep } from './step.js';

async function measureHere(job: MeasureJob): Promise<Measurement> {
  const threads = threadCount(job.threads);
  const { plan } = readPlan(job.dir);
  const wanted = batchShape(plan);
  const data = loadDataset('random', 'train', wanted);
  const loader = new BatchLoader(data, {
    batch: wanted.batch,
    seed: job.seed,
    augment: { flip: false, cropPadding: 0 },
    normalise: measureNormalisation(data),
  });
  const buffers = buffersOf(data, wanted.batch, wanted.sides);
  loader.next(buffers);
  const { inPlace, device } = job;
  const allocator = job.allocator ?? plan.memory.plan.allocator;
  const step = await TrainingStep.open(job.dir, plan, { threads, allocator, inPlace, device });
  const { env } = await loadRuntime();

  await settleMemory();
  const meter = await startPeakMeter();
  const losses: number[] = [];
  const seconds: number[] = [];
  while (losses.length < job.steps) {
    if (losses.length > 0) loader.next(buffers);
    const began = performance.now();
    const { loss } = await step.run({ ...buffers, learningRate: job.lr });
    seconds.push((performance.now() - began) / 1000);
    losses.push(loss);
    // Copies of outputs that are already garbage are no need of the step.
    await nextTurn();
    collectGarbage();
  }
  const peakBytes = Math.max(0, (await meter.stop()) - meter.base);
  await step.dispose();
  const version = env.versions.node ?? env.versions.common;
  const secondsPerStep = median(seconds.length > 1 ? seconds.slice(1) : seconds);
  return {
    losses,
    measured: {
      variant: job.variant,
      peakBytes,
      activationBytes: peakBytes,
      secondsPerStep,
      threads,
      machine: `${cpus()[0]?.model.trim() ?? process.arch}, ${platform()}, Node ${process.versions.node}, ONNX Runtime ${version}`,
    },
    secondsPerStep,
    baseBytes: meter.base,
    outputCopyBytes: step.copiedBytes,
    platform: {
      os: `${platform()} ${release()}`,
      cpu: cpus()[0]?.model ?? process.arch,
      threads,
      device,
      node: process.version,
      onnxruntime: version,
    },
  };
}

/** Collects twice: what the first collection released is given back by a background thread. */
async function settleMemory(): Promise<void> {
  for (let round = 0; round < 2; round++) {
    await nextTurn();
    collectGarbage();
  }
  await new Promise((resolve) => setTimeout(resolve, 50));
}

function median(values: readonly number[]): number {
  const sorted = [...values].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  const upper = sorted[middle] ?? 0;
  return sorted.length % 2 === 1 ? upper : ((sorted[middle - 1] ?? upper) + upper) / 2;
}

async function answer(job: MeasureJob): Promise<MeasureAnswer> {
  try {
    return { kind: 'done', result: await measureHere(job) };
  } catch (error) {
    if (error instanceof DiagnosticError)
      return {
        kind: 'diagnostic',
        code: error.code,
        where: error.where,
        why: error.why,
        hint: error.hint,
      };
    return { kind: 'failed', message: messageOf(error) };
  }
}

// A child whose parent has gone measures for nobody.
process.once('disconnect', () => process.exit());

process.once('message', (job) => {
  void answer(job as MeasureJob).then((reply) => {
    process.send?.(reply, () => {
      process.disconnect();
    });
  });
});
