// onnxruntime-node, loaded when it is first needed. In: a model file and a few options. Out: sessions set up the
// way a training step wants them. Invariant: nobody else imports onnxruntime-node, so every other command of the
// tool works on a machine that does not have it.

import { readFileSync } from 'node:fs';
import { availableParallelism } from 'node:os';
import { dirname } from 'node:path';
import type * as ort from 'onnxruntime-node';
import { DiagnosticError } from '../src/diagnostics/index.js';
import type { Allocator } from '../src/plan/index.js';
import type { SideArray } from './data/index.js';
import { deviceError, providersOf, sectionOf } from './device/provider.js';
import type { Device } from './device/provider.js';
import { withEndMarker } from './end-marker.js';

export type Runtime = typeof ort;

export interface SessionOptions {
  /** Threads inside one operator; default: the number of cores. */
  readonly threads?: number;
  /** Where tensors get their memory from. Default: ONNX Runtime's arena; a training step does as its plan says. */
  readonly allocator?: Allocator;
  /** Of a training step: whether ONNX Runtime rewrites the graph before it runs it; a plan says no for a deep one. */
  readonly optimize?: boolean;
  /** Further session settings, by section: `{ intra_op: { allow_spinning: '0' } }`. */
  readonly extra?: Readonly<Record<string, unknown>>;
  /** Where the operators run. Default: the CPU. */
  readonly device?: Device;
}

/** @throws DiagnosticError runtime/missing */
export async function loadRuntime(
  load: () => Promise<Runtime> = () => import('onnxruntime-node'),
): Promise<Runtime> {
  try {
    return await load();
  } catch (error) {
    throw new DiagnosticError('runtime/missing', 'onnxruntime-node', messageOf(error));
  }
}

/** @throws DiagnosticError usage/option, runtime/missing, device/unavailable, train/invalid where ONNX
 * Runtime refuses the file */
export async function createSession(
  path: string,
  options: SessionOptions = {},
): Promise<ort.InferenceSession> {
  const settings = settingsOf(options);
  const { InferenceSession } = await loadRuntime();
  try {
    return await InferenceSession.create(path, settings);
  } catch (error) {
    throw sessionError(path, options, error);
  }
}

/** As createSession(), with END as an output more, the first one: see end-marker.ts. */
export async function createStepSession(
  path: string,
  options: SessionOptions = {},
): Promise<ort.InferenceSession> {
  let bytes: Uint8Array;
  try {
    bytes = withEndMarker(readFileSync(path));
  } catch (error) {
    throw sessionError(path, options, error);
  }
  return createSessionOf(bytes, path, options);
}

/** Of a model given as bytes. @param path of the file it stems from: where files beside it lie, and what errors name */
export async function createSessionOf(
  bytes: Uint8Array,
  path: string,
  options: SessionOptions,
): Promise<ort.InferenceSession> {
  const folder = { model_external_initializers_file_folder_path: dirname(path) };
  const settings = settingsOf({ ...options, extra: { ...folder, ...options.extra } });
  const { InferenceSession } = await loadRuntime();
  try {
    return await InferenceSession.create(bytes, settings);
  } catch (error) {
    throw sessionError(path, options, error);
  }
}

/** What a run that failed is reported as. @param path of the model */
export const runError = (path: string, error: unknown): DiagnosticError =>
  new DiagnosticError('train/invalid', path, `ONNX Runtime: ${messageOf(error)}`);

function sessionError(
  path: string,
  { device = 'cpu' }: SessionOptions,
  error: unknown,
): DiagnosticError {
  const message = messageOf(error);
  return (
    deviceError(device, message) ??
    new DiagnosticError('train/invalid', path, `ONNX Runtime: ${message}`)
  );
}

/** @throws DiagnosticError usage/option */
export function settingsOf(options: SessionOptions): ort.InferenceSession.SessionOptions {
  const { device = 'cpu', allocator } = options;
  const section = { ...sectionOf(device), ...options.extra };
  return {
    graphOptimizationLevel: levelOf(options.optimize),
    // Beside an arena, which keeps what the first step took, the block of a pattern would be memory taken twice.
    enableMemPattern: allocator === 'pattern',
    enableCpuMemArena: allocator === undefined,
    intraOpNumThreads: threadCount(options.threads),
    logSeverityLevel: 3,
    ...providersOf(device),
    ...(Object.keys(section).length > 0 ? { extra: { session: section } } : {}),
  };
}

/**
 * Of a step: without the blocked layouts of 'all'. Its weights come as inputs, so that only poolings would get them, with
 * copies before and after.
 */
const levelOf = (optimize: boolean | undefined): 'disabled' | 'extended' | 'all' => {
  if (optimize === undefined) return 'all';
  return optimize ? 'extended' : 'disabled';
};

/** @throws DiagnosticError usage/option */
export function threadCount(threads: number | undefined): number {
  if (threads === undefined) return availableParallelism();
  if (Number.isSafeInteger(threads) && threads >= 1 && threads <= 1024) return threads;
  throw new DiagnosticError('usage/option', 'threads', `${threads} is not a number of threads`);
}

/** An array as ONNX Runtime takes it, where it lies. Bytes are truth values. */
export function tensorOf(
  { Tensor }: Runtime,
  data: SideArray,
  shape: readonly number[],
): ort.Tensor {
  if (data instanceof Float32Array) return new Tensor('float32', data, shape);
  if (data instanceof BigInt64Array) return new Tensor('int64', data, shape);
  if (data instanceof Int32Array) return new Tensor('int32', data, shape);
  return new Tensor('bool', data, shape);
}

export const messageOf = (error: unknown): string =>
  error instanceof Error ? error.message : String(error);
