// How much memory and time a training step really takes. In: a folder with a plan and its models. Out: losses, bytes,
// seconds. What is measured, in a fresh process on random data:
//   peakBytes = the highest resident size (RSS) while the steps run, minus the resident size just before the first
//   one. By then the session exists, and weights, optimizer state, running statistics, the batch and all
//   preallocated outputs are in place with every page touched, and garbage has been collected.
//   activationBytes = peakBytes: everything above the loaded model counts as activation, that is, also weight
//   gradients, workspace of operators, what the allocator holds and does not use, and copies of outputs, where the
//   binding makes any (outputCopyBytes).
// A training runs with the same settings: the allocator its plan asks for (allocator.ts), outputs not copied
// (end-marker.ts).
// On Linux the kernel's own mark is read (VmHWM, reset through /proc/self/clear_refs), elsewhere a second thread
// samples the resident size every millisecond. Invariant: the calling process does not influence the figures.

import { fork } from 'node:child_process';
import { DiagnosticError } from '../src/diagnostics/index.js';
import type { DiagnosticCode } from '../src/diagnostics/index.js';
import { childProgram } from './child.js';
import type { Device } from './device/provider.js';
import { MALLOC_ENVIRONMENT } from './allocator.js';
import type { Allocator, PlanMeasurement } from '../src/plan/index.js';

export interface MeasureOptions {
  /** At least 1; the first is not timed unless it is the only one. Default 3. */
  readonly steps?: number;
  /** Seed of the order of the random data. Default 0. */
  readonly seed?: number;
  /** Default: the number of cores. */
  readonly threads?: number;
  /** What runs the steps. The bytes are those of the process, not of a GPU's own memory. Default: the CPU. */
  readonly device?: Device;
  /** Where tensors get their memory from. Default: as the plan says. */
  readonly allocator?: Allocator;
  /** Default true. */
  readonly inPlace?: boolean;
  /** Default 0.01. */
  readonly lr?: number;
  /** What to call the measured way of training in the result. Default 'plan'. */
  readonly variant?: string;
}

export interface Measurement {
  readonly losses: readonly number[];
  /** In the form the plan keeps. */
  readonly measured: PlanMeasurement;
  /** Median without the first step; the loading of data is not part of it. */
  readonly secondsPerStep: number;
  /** Resident bytes before the first step: the loaded model and the process itself. */
  readonly baseBytes: number;
  /** What onnxruntime-node copied at the end of the last run: 0 where it stops at the end marker. */
  readonly outputCopyBytes: number;
  readonly platform: {
    readonly os: string;
    readonly cpu: string;
    readonly threads: number;
    readonly device: Device;
    readonly node: string;
    readonly onnxruntime: string;
  };
}

/** What the child is asked to do. */
export interface MeasureJob extends Required<Omit<MeasureOptions, 'threads' | 'allocator'>> {
  readonly dir: string;
  readonly threads?: number;
  readonly allocator?: Allocator;
}

/** What it answers. */
export type MeasureAnswer =
  | { readonly kind: 'done'; readonly result: Measurement }
  | {
      readonly kind: 'diagnostic';
      readonly code: DiagnosticCode;
      readonly where: string;
      readonly why: string;
      readonly hint: string;
    }
  | { readonly kind: 'failed'; readonly message: string };

/**
 * Measures the training step of a compiled folder in a process of its own.
 * @throws DiagnosticError as train(); Error when the process dies, of too little memory for example
 */
export async function measure(dir: string, options: MeasureOptions = {}): Promise<Measurement> {
  const { steps = 3 } = options;
  if (!Number.isSafeInteger(steps) || steps < 1)
    throw new DiagnosticError('usage/option', 'steps', `${steps} is not a positive whole number`);
  const job: MeasureJob = {
    dir,
    steps,
    seed: options.seed ?? 0,
    inPlace: options.inPlace ?? true,
    lr: options.lr ?? 0.01,
    variant: options.variant ?? 'plan',
    device: options.device ?? 'cpu',
    ...(options.threads === undefined ? {} : { threads: options.threads }),
    ...(options.allocator === undefined ? {} : { allocator: options.allocator }),
  };
  const answer = await ask(job);
  if (answer.kind === 'done') return answer.result;
  if (answer.kind === 'failed') throw new Error(answer.message);
  throw new DiagnosticError(answer.code, answer.where, answer.why, answer.hint);
}

function ask(job: MeasureJob): Promise<MeasureAnswer> {
  return new Promise((resolve, reject) => {
    const child = fork(childProgram('measure-child'), [], {
      execArgv: ['--expose-gc'],
      // Freed memory goes back at once instead of being kept for later: the base would hold it otherwise.
      env: { ...process.env, ...MALLOC_ENVIRONMENT },
    });
    let answer: MeasureAnswer | undefined;
    child.once('message', (message) => {
      answer = message as MeasureAnswer;
    });
    child.once('error', reject);
    child.once('exit', (code, signal) => {
      if (answer) resolve(answer);
      else
        reject(
          new Error(
            signal === null
              ? `the measuring process ended with status ${code ?? 0}`
              : `the measuring process was ended by ${signal}; there may be too little memory`,
          ),
        );
    });
    child.send(job);
  });
}
