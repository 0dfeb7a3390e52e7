// How good a trained model is. In: an inference model, a data set. Out: how many samples it classifies correctly.
// Invariant: every sample counts once, and the model runs in plain ONNX Runtime, as any user of it would run it.

import type { Tensor } from 'onnxruntime-node';
import { DiagnosticError } from '../src/diagnostics/index.js';
import { evaluationBatches } from './data/index.js';
import type { Dataset, Normalisation } from './data/index.js';
import { createSession, loadRuntime, messageOf } from './session.js';
import type { SessionOptions } from './session.js';

export interface Evaluation {
  readonly samples: number;
  readonly correct: number;
  /** correct / samples */
  readonly accuracy: number;
}

export interface EvaluateOptions extends SessionOptions {
  /** Name of the model's input, and its shape with the batch size to evaluate with. */
  readonly input: { readonly name: string; readonly shape: readonly number[] };
  /** The output that holds the scores; default, or where the model has no such output: the first. */
  readonly output?: string;
}

/** @param path an inference model; each row of its output holds one score per class */
export async function evaluateModel(
  path: string,
  data: Dataset,
  normalise: Normalisation,
  options: EvaluateOptions,
): Promise<Evaluation> {
  const { input, output, ...sessionOptions } = options;
  const runtime = await loadRuntime();
  const session = await createSession(path, sessionOptions);
  try {
    const scores = session.outputNames.find((name) => name === output) ?? session.outputNames[0];
    const batch = input.shape[0] ?? 1;
    let feed: Tensor | undefined;
    let correct = 0;
    for (const { images, labels, valid } of evaluationBatches(data, batch, normalise)) {
      // The generator fills the same buffers again, so one tensor serves for all of them.
      feed ??= new runtime.Tensor('float32', images, input.shape);
      const results = await session.run({ [input.name]: feed }, [scores ?? '']);
      correct += countCorrect(results[scores ?? '']?.data as Float32Array, labels, batch, valid);
    }
    return { samples: data.count, correct, accuracy: correct / data.count };
  } catch (error) {
    if (error instanceof DiagnosticError) throw error;
    throw new DiagnosticError('train/invalid', path, `ONNX Runtime: ${messageOf(error)}`);
  } finally {
    await session.release();
  }
}

/** Rows whose highest score is that of the label; the first of equal ones counts, as ArgMax has it. */
function countCorrect(
  scores: Float32Array,
  labels: BigInt64Array,
  batch: number,
  valid: number,
): number {
  const classes = scores.length / batch;
  let correct = 0;
  for (let row = 0; row < valid; row++) {
    let best = 0;
    for (let c = 1; c < classes; c++)
      if ((scores[row * classes + c] ?? 0) > (scores[row * classes + best] ?? 0)) best = c;
    if (Number(labels[row]) === best) correct++;
  }
  return correct;
}
