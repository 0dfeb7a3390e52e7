// The PyTorch side of a comparison. In: a model, images, labels and the architecture family. Out: what PyTorch
// computes. Invariant: a missing PyTorch is an error, never a skipped test.

import { spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Model, Tensor } from '../../src/ir/index.js';
import { writeModel } from '../../src/onnx/index.js';

const NEEDED = 'import torch, numpy, onnx';
let found: string | undefined;

/** A python3 that has PyTorch. */
function python(): string {
  found ??= ['python3', '/usr/bin/python3'].find(
    (command) => spawnSync(command, ['-c', NEEDED]).status === 0,
  );
  if (found === undefined)
    throw new Error(
      'the PyTorch comparisons need a python3 with torch, numpy and onnx: pip install torch numpy onnx',
    );
  return found;
}

export interface Family {
  readonly family: 'preact' | 'cifar-v1' | 'imagenet';
  readonly params: Readonly<Record<string, unknown>>;
}

export interface Batch {
  readonly images: Tensor;
  readonly labels: readonly number[];
}

interface Stored {
  readonly file: string;
  readonly shape: readonly number[];
}

export type Tensors = Map<string, Float64Array>;

export interface PythonRun {
  readonly input?: string;
  readonly cwd?: string;
  readonly env?: Readonly<Record<string, string>>;
  /** Milliseconds. A program that hangs fails its test, where a run without end would take every other with it. */
  readonly timeout?: number;
}

/** Runs a program to its end. @returns what it printed @throws what it said of its failure */
export function runPython(
  args: readonly string[],
  { env, timeout = 500_000, ...how }: PythonRun = {},
): string {
  const { status, signal, stdout, stderr } = spawnSync(python(), args, {
    encoding: 'utf8',
    maxBuffer: 1 << 28,
    killSignal: 'SIGKILL',
    timeout,
    ...how,
    ...(env ? { env: { ...process.env, ...env } } : {}),
  });
  if (status !== 0)
    throw new Error(`python ${args.join(' ').slice(0, 200)}: ${signal ?? ''} ${stdout} ${stderr}`);
  return stdout;
}

/** A folder for one comparison; gone when `use` returns. */
export async function withFolder<T>(use: (folder: string) => T | Promise<T>): Promise<T> {
  const folder = mkdtempSync(join(tmpdir(), 'revnetify-torch-'));
  try {
    return await use(folder);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

/** Writes a network: the original before a compiler touches it, or a coupled one for its weights. */
export function saveModel(model: Model, folder: string): string {
  const path = join(folder, 'model.onnx');
  writeModel(model, path);
  return path;
}

/** What a script beside this file answers: JSON in, JSON out. */
export function askPython(script: string, request: unknown): unknown {
  const path = fileURLToPath(new URL(script, import.meta.url));
  return JSON.parse(runPython([path], { input: JSON.stringify(request) }));
}

function ask(
  script: string,
  folder: string,
  model: string,
  { family, params }: Family,
  { images, labels }: Batch,
  more: Readonly<Record<string, unknown>>,
): { answer: Record<string, unknown>; read: (stored: Stored) => Float64Array } {
  const imagesPath = join(folder, 'images.bin');
  writeFileSync(imagesPath, new Uint8Array(images.data.buffer));
  const out = join(folder, 'answer');
  mkdirSync(out, { recursive: true });
  const request = {
    model,
    family,
    params,
    images: { path: imagesPath, shape: images.dims, dtype: 'float64' },
    labels,
    out,
    // ONNX counts the momentum from the other end, and holds it in float32.
    momentum: 1 - Math.fround(0.9),
    ...more,
  };
  const answer = askPython(script, request) as Record<string, unknown>;
  const bytes = more.dtype === 'float32' ? 4 : 8;
  const read = ({ file }: Stored): Float64Array => {
    const data = new Uint8Array(readFileSync(join(out, file)));
    return bytes === 4
      ? Float64Array.from(new Float32Array(data.buffer))
      : new Float64Array(data.buffer);
  };
  return { answer, read };
}

const all = (entries: unknown, read: (stored: Stored) => Float64Array): Tensors =>
  new Map(Object.entries(entries as Record<string, Stored>).map(([n, s]) => [n, read(s)]));

export interface Reference {
  readonly loss: number;
  readonly runs: readonly (readonly string[])[];
  readonly logits: Float64Array;
  readonly gradients: Tensors;
  readonly running: Tensors;
}

/** Gradients of the coupled network by autograd. */
export function coupledReference(
  folder: string,
  model: string,
  family: Family,
  batch: Batch,
  more: {
    readonly dtype?: 'float64' | 'float32';
    readonly recipe?: 'paper' | 'rewire';
    readonly partition?: 'widen' | 'split';
  } = {},
): Reference {
  const { answer, read } = ask('coupled_reference.py', folder, model, family, batch, more);
  return {
    loss: answer.loss as number,
    runs: answer.runs as string[][],
    logits: read(answer.logits as Stored),
    gradients: all(answer.gradients, read),
    running: all(answer.running, read),
  };
}

export interface OptimizerRequest {
  readonly optimizer: 'sgd' | 'adamw';
  /** Of the torch.optim class. */
  readonly options: Readonly<Record<string, unknown>>;
  readonly weight_decay: number;
  readonly clip_norm: number;
  readonly accumulate: number;
  readonly label_smoothing: number;
  readonly steps: number;
}

/** The network after some steps of an optimizer of torch.optim. */
export function optimizerReference(
  folder: string,
  model: string,
  family: Family,
  batch: Batch,
  request: OptimizerRequest,
): {
  losses: readonly number[];
  norms: readonly number[];
  weights: Tensors;
  states: Tensors;
  running: Tensors;
} {
  const { answer, read } = ask('optimizer_reference.py', folder, model, family, batch, {
    ...request,
  });
  return {
    losses: answer.losses as number[],
    norms: answer.norms as number[],
    weights: all(answer.weights, read),
    states: all(answer.states, read),
    running: all(answer.running, read),
  };
}
