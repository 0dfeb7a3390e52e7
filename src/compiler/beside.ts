// The baselines of a large network, built on another core while this one builds the step. In: the file that was read, and
// the settings. Out: their figures, or nothing, and then they are built here. Invariant: the thread does what this one
// would do, from the same bytes, so its figures are the same; a thread that fails is only slower.

import { availableParallelism } from 'node:os';
import { Worker } from 'node:worker_threads';
import { printRevPipeline, revPipeline } from '../../passes/index.js';
import type { Settings } from '../../passes/index.js';
import type { Model } from '../ir/index.js';
import type { Baselines } from './baselines.js';
import { settingsOf } from './coupled.js';
import type { CompileOptions } from './coupled.js';

/** What the thread is started with. */
export interface BesideRequest {
  readonly path: string;
  readonly settings: Partial<Settings>;
}

export interface Beside {
  /** undefined: it has failed. */
  readonly result: Promise<Baselines | undefined>;
  stop(): Promise<void>;
}

/** Below this many nodes a thread takes longer to start than the work does. */
const LARGE = 1000;

/** Node 20 does not run TypeScript: from sources, under a test runner, there is no program for the thread. */
const isBuilt = import.meta.url.endsWith('.js');

/** @returns undefined where it would not help, or where this thread has passes that another has not */
export function startBaselines(model: Model, options: CompileOptions): Beside | undefined {
  const { source, pipeline } = options;
  const isStandard = !pipeline || printRevPipeline(pipeline) === printRevPipeline(revPipeline());
  if (!isBuilt || !isStandard || model.graph.nodes.size < LARGE || availableParallelism() < 2)
    return undefined;
  const request: BesideRequest = { path: source, settings: settingsOf(options) };
  const worker = new Worker(new URL('./beside-worker.js', import.meta.url), {
    workerData: request,
  });
  const result = new Promise<Baselines | undefined>((resolve) => {
    worker.once('message', resolve);
    worker.once('error', () => {
      resolve(undefined);
    });
    worker.once('exit', () => {
      resolve(undefined);
    });
  });
  return {
    result,
    stop: async () => {
      await worker.terminate();
    },
  };
}
