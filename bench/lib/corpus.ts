// What the corpus run does with one file. In: a path and options. Out: a row: residual blocks found and coupled, why the
// others were left, whether one step runs and is right. Invariant: a refusal with a code is a result; anything else that
// is thrown is a crash, and is told apart from it.

import { measure } from '../../runtime/index.js';
import { createSession } from '../../runtime/session.js';
import { freemem } from 'node:os';
import { join } from 'node:path';
import { analyseModel, compile, modelName, writeFolder } from '../../src/compiler/index.js';
import type { CompileOptions, Compiled } from '../../src/compiler/index.js';
import { DiagnosticError } from '../../src/diagnostics/index.js';
import type { Model } from '../../src/ir/index.js';
import { checkWeights, readModel } from '../../src/onnx/index.js';
import { verificationBytes, verifyModel } from '../../src/verify/index.js';
import type { VerifyResult } from '../../src/verify/index.js';
import { withTemporary } from './folder.js';

export interface CorpusOptions {
  readonly recipe: NonNullable<CompileOptions['recipe']>;
  /** Extents of open dimensions: for one input, or for every input of that rank. The first is the batch, and not used. */
  readonly shapes: readonly { readonly name: string | undefined; readonly dims: number[] }[];
  readonly verify: boolean;
  /** Steps of more arithmetic than this are not interpreted in float64. */
  readonly float64Flops: number;
  readonly threads?: number;
}

/**
 * passed: converted, one step run, verified. failed: the figures or the loss are wrong. nothing: no block can be
 * coupled. refused: another message with a code. crashed: an exception without one. stopped: over the time limit, or
 * the process died.
 */
export type CorpusStatus = 'passed' | 'failed' | 'nothing' | 'refused' | 'crashed' | 'stopped';

/** The figures of verification that a row shows. */
export interface CorpusFigures {
  readonly batch: number;
  readonly forward: number;
  readonly reconstruction: number;
  /** How many were rebuilt. */
  readonly streams: number;
  readonly gradient: number;
  readonly noise: number;
  readonly medianTensor: number;
  /** Worst tensor of recompute against stored, and finite differences; a text where they were not computed. */
  readonly float64: readonly [number, number] | string;
  readonly failures: readonly string[];
}

/** What became of one way of converting the file. */
export interface CorpusAttempt {
  readonly status: CorpusStatus;
  readonly code?: string;
  readonly why?: string;
  readonly batch?: number;
  readonly loss?: number;
  /** A text where nothing was verified. */
  readonly figures?: CorpusFigures | string;
}

export interface CorpusRow extends CorpusAttempt {
  readonly file: string;
  /** Residual blocks. */
  readonly found: number;
  readonly coupled: number;
  /** Reason → how many blocks were left for it. */
  readonly left: Readonly<Record<string, number>>;
  /** Where nothing can be coupled: the network as it is (recipe none). */
  readonly plain?: CorpusAttempt;
  readonly notes: readonly string[];
  readonly seconds: number;
}

/** Tells what is being done, for the message when it takes too long. */
type Stage = (what: string) => void;

const BATCHES = [2, 1];

/** A thrown error as a row shows it. */
function failure(error: unknown): CorpusAttempt {
  if (error instanceof DiagnosticError) {
    const { code, where, why } = error;
    return code === 'couple/nothing'
      ? { status: 'nothing', code, why }
      : { status: 'refused', code, why: `${where}: ${why}` };
  }
  const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
  return { status: 'crashed', why: text };
}

/** A broken pass is our own mistake, though it has a code. */
const isCrash = ({ status, code }: CorpusAttempt): CorpusAttempt['status'] =>
  code === 'pass/failed' || code === 'op/no-lowering' ? 'crashed' : status;

/** Extents for inputs whose height, width or length is open. */
function inputShapes(model: Model, shapes: CorpusOptions['shapes']): Map<string, number[]> {
  const found = new Map<string, number[]>();
  for (const input of model.graph.inputs) {
    const { name, shape } = input;
    if (input.constant || !shape?.slice(1).some((d) => typeof d !== 'number')) continue;
    const given =
      shapes.findLast((s) => s.name === name) ??
      shapes.findLast((s) => s.name === undefined && s.dims.length === shape.length);
    if (given)
      found.set(
        name,
        shape.map((d, i) => (typeof d === 'number' ? d : (given.dims[i] ?? 1))),
      );
  }
  return found;
}

/** Reads, converts, runs and verifies one file. Never throws. */
export async function checkFile(
  file: string,
  options: CorpusOptions,
  stage: Stage,
): Promise<CorpusRow> {
  const began = performance.now();
  const { recipe, ...analysed } = analyseFile(file, options, stage);
  let row: CorpusAttempt = analysed.failed ?? (await attempt(file, recipe, options, stage));
  row = { ...row, status: isCrash(row) };
  const plain =
    row.status === 'nothing' ? { plain: await attempt(file, 'none', options, stage) } : {};
  const { found, coupled, left, notes } = analysed;
  const seconds = (performance.now() - began) / 1000;
  return { file, ...row, found, coupled, left, ...plain, notes, seconds };
}

interface Analysed extends Pick<CorpusRow, 'found' | 'coupled' | 'left' | 'notes'> {
  readonly recipe: CorpusOptions['recipe'];
  readonly failed?: CorpusAttempt;
}

/** What `inspect` says. */
function analyseFile(file: string, { recipe }: CorpusOptions, stage: Stage): Analysed {
  stage('reading and analysing');
  try {
    const { reports, notes } = analyseModel(readModel(file), { recipe });
    const left: Record<string, number> = {};
    for (const { coupled, reason } of reports) if (!coupled) left[reason] = (left[reason] ?? 0) + 1;
    const coupled = reports.filter((r) => r.coupled).length;
    return { recipe, found: reports.length, coupled, left, notes };
  } catch (error) {
    return { recipe, found: 0, coupled: 0, left: {}, notes: [], failed: failure(error) };
  }
}

/** The whole way at the smallest batch that the model takes. */
async function attempt(
  file: string,
  recipe: CorpusOptions['recipe'],
  options: CorpusOptions,
  stage: Stage,
): Promise<CorpusAttempt> {
  const tries: CorpusAttempt[] = [];
  for (const batch of BATCHES) {
    const result = await attemptAt(file, { recipe, batch }, options, stage);
    // Only a shape can be a matter of the batch size.
    if (result.code?.startsWith('shape/') !== true) return result;
    tries.push(result);
  }
  return tries[0] ?? { status: 'crashed', why: 'no batch size was tried' };
}

async function attemptAt(
  file: string,
  { recipe, batch }: { readonly recipe: CorpusOptions['recipe']; readonly batch: number },
  options: CorpusOptions,
  stage: Stage,
): Promise<CorpusAttempt> {
  try {
    stage(`converting, recipe ${recipe}, batch ${batch}`);
    const model = readModel(file);
    checkWeights(model);
    const compiled = compile(model, {
      name: modelName(file),
      source: file,
      recipe,
      batch,
      inputShapes: inputShapes(model, options.shapes),
    });
    const loss = await oneStep(compiled, options, stage);
    if (!Number.isFinite(loss))
      return { status: 'failed', batch, loss, why: `the loss of the first step is ${loss}` };
    const figures = await verified(compiled, options, stage);
    if (typeof figures === 'string' || figures.failures.length === 0)
      return { status: 'passed', batch, loss, figures };
    return { status: 'failed', batch, loss, figures, why: figures.failures.join('; ') };
  } catch (error) {
    return { ...failure(error), batch };
  }
}

/** Loads rev.onnx and takes one training step on random data, in a process of its own. */
const oneStep = (compiled: Compiled, options: CorpusOptions, stage: Stage): Promise<number> =>
  withTemporary(async (dir) => {
    stage('writing');
    writeFolder(compiled, dir);
    stage('loading rev.onnx in ONNX Runtime');
    const session = await createSession(join(dir, compiled.plan.model.rev), { threads: 1 });
    await session.release();
    stage('training one step');
    const { losses } = await measure(dir, {
      steps: 1,
      ...(options.threads === undefined ? {} : { threads: options.threads }),
    });
    return losses[0] ?? NaN;
  });

const gigabytes = (bytes: number): string => `${(bytes / 1e9).toFixed(1)} GB`;

async function verified(
  { rev, state, plan }: Compiled,
  options: CorpusOptions,
  stage: Stage,
): Promise<CorpusFigures | string> {
  if (!options.verify) return 'not asked for';
  const [needed, free] = [verificationBytes(rev), freemem()];
  if (needed > free) return `takes ${gigabytes(needed)}, ${gigabytes(free)} are free`;
  stage('verifying');
  const { float64Flops, threads } = options;
  const result = await verifyModel(rev, state.chains, state.settings, {
    batch: state.settings.batch,
    float64Flops,
    ...(threads === undefined ? {} : { threads }),
  });
  return figuresOf(result, plan.cost.stepFlopsAfter);
}

const figuresOf = (r: VerifyResult, flops: number): CorpusFigures => ({
  batch: r.batch,
  forward: r.forward.maxRel,
  reconstruction: r.reconstruction.maxRel,
  streams: r.reconstruction.streams,
  gradient: r.gradient.relL2,
  noise: r.noise.relL2,
  medianTensor: r.gradient.medianTensor,
  float64: r.float64
    ? [r.float64.recompute.maxTensor, r.float64.finiteDifferences]
    : `not interpreted: ${(flops / 1e6).toFixed(0)} MFLOP`,
  failures: r.failures,
});
