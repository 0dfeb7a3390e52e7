// How good a trained model is. In: an inference model, a data set. Out: how many labels (one per sample, pixel or token)
// it meets, or its mean squared error. Invariant: every sample counts once, and the model runs in plain ONNX Runtime, as
// any user of it would run it.

import type { Tensor } from 'onnxruntime-node';
import { DiagnosticError } from '../src/diagnostics/index.js';
import { buffersOf, evaluationBatches } from './data/index.js';
import type { Dataset, Normalisation, SideInput } from './data/index.js';
import { createSession, loadRuntime, messageOf, tensorOf } from './session.js';
import type { SessionOptions } from './session.js';

/** Of a model with classes: labels, correct and accuracy; of any other: loss. */
export interface Evaluation {
  readonly samples: number;
  /** Those that count: one per sample, pixel or token, less those to be ignored. */
  readonly labels?: number;
  readonly correct?: number;
  /** correct / labels */
  readonly accuracy?: number;
  /** Mean squared error of all elements. */
  readonly loss?: number;
}

export interface EvaluateOptions extends SessionOptions {
  /** Name of the model's input, and its shape with the batch size to evaluate with. */
  readonly input: { readonly name: string; readonly shape: readonly number[] };
  /** Its inputs beside that one. */
  readonly sides?: readonly SideInput[];
  /** The output that holds the scores; default, or where the model has no such output: the first. */
  readonly output?: string;
  /** Where the classes of that output are; default 1. null: floats, which are compared with targets. */
  readonly classAxis?: number | null;
  /** A label that does not count. */
  readonly ignoreIndex?: number;
}

/** @param path an inference model; its output holds one score per class, or what is compared with targets */
export async function evaluateModel(
  path: string,
  data: Dataset,
  normalise: Normalisation,
  options: EvaluateOptions,
): Promise<Evaluation> {
  const { input, sides = [], output, classAxis = 1, ignoreIndex, ...sessionOptions } = options;
  const runtime = await loadRuntime();
  const session = await createSession(path, sessionOptions);
  try {
    const scores = session.outputNames.find((name) => name === output) ?? session.outputNames[0];
    const batch = input.shape[0] ?? 1;
    const feeds: Record<string, Tensor> = {};
    const into = buffersOf(data, batch, sides);
    const sum = new Sum(classAxis, ignoreIndex);
    for (const { images, labels, valid } of evaluationBatches(data, batch, normalise, into)) {
      // The generator fills the same buffers again, so one tensor serves for all of them.
      feeds[input.name] ??= tensorOf(runtime, images, input.shape);
      for (const { name, shape } of sides) {
        const array = into.sides?.[name];
        if (array) feeds[name] ??= tensorOf(runtime, array, [batch, ...shape]);
      }
      const results = await session.run(feeds, [scores ?? '']);
      const result = results[scores ?? ''];
      if (result) sum.add(result, labels, valid / batch);
    }
    return { samples: data.count, ...sum.result() };
  } catch (error) {
    if (error instanceof DiagnosticError) throw error;
    throw new DiagnosticError('train/invalid', path, `ONNX Runtime: ${messageOf(error)}`);
  } finally {
    await session.release();
  }
}

/** What one batch after another adds up to. */
class Sum {
  private labels = 0;
  private correct = 0;
  private squares = 0;

  constructor(
    private readonly classAxis: number | null,
    private readonly ignoreIndex: number | undefined,
  ) {}

  /** @param share of the batch that counts: its first samples */
  add(result: Tensor, answers: BigInt64Array | Float32Array, share: number): void {
    const values = result.data as Float32Array;
    if (this.classAxis === null) this.addSquares(values, answers, share);
    else this.addLabels(values, answers, share, result.dims.slice(this.classAxis));
  }

  result(): Omit<Evaluation, 'samples'> {
    const { labels, correct, squares } = this;
    if (this.classAxis === null) return { loss: squares / labels };
    return { labels, correct, accuracy: correct / labels };
  }

  private addSquares(
    values: Float32Array,
    targets: BigInt64Array | Float32Array,
    share: number,
  ): void {
    const count = Math.round(share * values.length);
    for (let at = 0; at < count; at++)
      this.squares += ((values[at] ?? NaN) - Number(targets[at])) ** 2;
    this.labels += count;
  }

  /** The class of the highest score; the first of equal ones counts, as ArgMax has it. @param dims from the classes on */
  private addLabels(
    scores: Float32Array,
    labels: BigInt64Array | Float32Array,
    share: number,
    [classes = 1, ...inner]: readonly number[],
  ): void {
    // Scores of one label lie this far apart; labels are numbered as if the classes were not there.
    const step = inner.reduce((n, d) => n * d, 1);
    const count = Math.round(share * labels.length);
    for (let at = 0; at < count; at++) {
      const label = Number(labels[at]);
      if (label === this.ignoreIndex) continue;
      const first = Math.floor(at / step) * step * classes + (at % step);
      let best = 0;
      for (let c = 1; c < classes; c++)
        if ((scores[first + c * step] ?? 0) > (scores[first + best * step] ?? 0)) best = c;
      if (label === best) this.correct++;
      this.labels++;
    }
  }
}
