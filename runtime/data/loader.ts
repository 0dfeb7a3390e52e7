// Batches for training and for evaluation. In: a data set and, for training, a seed and the
// augmentation. Out: filled buffers of the caller. Invariant: the order of epoch e and the crop of
// the sample at position p in it depend on (seed, e, p) alone, so the number of batches given out is
// the whole state and a loader that is told it continues bit for bit.
import { DiagnosticError } from '../../src/diagnostics/index.js';
import { closeDataset } from './dataset.js';
import type { Dataset } from './dataset.js';
import { bad } from './files.js';
import type { Normalisation } from './normalise.js';
import { Random } from './random.js';
import type { BatchBuffers } from './sample.js';
import { SampleWriter, buffersOf } from './sample.js';

/** Keys end in a position, or in this for the order of the epoch: no data set has as many samples. */
const ORDER = 0xffff_ffff;

export interface Augment {
  /** Mirrors every other sample or so, left to right. */
  readonly flip: boolean;
  /** Zero pixels assumed on every side, out of which a crop of the image's size is drawn. */
  readonly cropPadding: number;
}

export interface LoaderOptions {
  readonly batch: number;
  /** The low 32 bits count. */
  readonly seed: number;
  readonly augment: Augment;
  readonly normalise: Normalisation;
}

/**
 * Goes through the data again and again, in another order each epoch. All batches are full: the
 * last samples of an epoch that fill no batch share one with the first of the next epoch.
 */
export class BatchLoader {
  private readonly writer: SampleWriter;
  private readonly random = new Random(0);
  private readonly order: Uint32Array;
  private readonly batch: number;
  private readonly augment: Augment;
  private readonly seed: number;
  private epoch = 0;
  private position = 0;
  /** Given out by every call, so that a step leaves no garbage behind. */
  private readonly result = { epoch: 0 };

  constructor(
    private readonly data: Dataset,
    options: LoaderOptions,
  ) {
    checkBatch(options.batch);
    wholeNumber('seed', options.seed);
    wholeNumber('crop padding', options.augment.cropPadding, 0);
    if (data.count < 1) throw bad(data.name, 'there are no samples');
    this.batch = options.batch;
    this.augment = options.augment;
    this.seed = options.seed >>> 0;
    this.writer = new SampleWriter(data, options.normalise);
    this.order = new Uint32Array(data.count);
    this.shuffle();
  }

  /**
   * Fills the buffers with the next batch.
   * @returns the epoch, counted from 0, of the first sample in it; the same object every time
   */
  next(into: BatchBuffers): { readonly epoch: number } {
    this.writer.check(into, this.batch);
    for (let slot = 0; slot < this.batch; slot++) {
      if (this.position === this.data.count) {
        this.epoch++;
        this.position = 0;
        this.shuffle();
      }
      if (slot === 0) this.result.epoch = this.epoch;
      this.writeNext(into, slot);
      this.position++;
    }
    return this.result;
  }

  /** Continues as a loader does that has given out so many batches. */
  seek(batches: number): void {
    wholeNumber('batches', batches, 0);
    const given = batches * this.batch;
    this.epoch = Math.floor(given / this.data.count);
    this.position = given % this.data.count;
    this.shuffle();
  }

  close(): void {
    closeDataset(this.data);
  }

  private writeNext(into: BatchBuffers, slot: number): void {
    const { flip, cropPadding } = this.augment;
    const sample = this.order[this.position] ?? 0;
    this.random.reseed(this.seed, this.epoch, this.position);
    const top = this.random.below(2 * cropPadding + 1) - cropPadding;
    const left = this.random.below(2 * cropPadding + 1) - cropPadding;
    const mirror = flip && this.random.below(2) === 1;
    this.writer.write(sample, into, slot, top, left, mirror);
  }

  /** Fisher and Yates, from the ordered list each time: an epoch's order needs no other epoch's. */
  private shuffle(): void {
    const { order, random } = this;
    random.reseed(this.seed, this.epoch, ORDER);
    for (let at = 0; at < order.length; at++) order[at] = at;
    for (let at = order.length - 1; at > 0; at--) {
      const other = random.below(at + 1);
      const kept = order[at] ?? 0;
      order[at] = order[other] ?? 0;
      order[other] = kept;
    }
  }
}

export interface EvaluationBatch extends BatchBuffers {
  /** Samples that count; the slots after them repeat the last one to fill the batch. */
  readonly valid: number;
}

/** Every sample once, in order, as it is. The buffers are the same for all batches. */
export function* evaluationBatches(
  data: Dataset,
  batch: number,
  normalise: Normalisation,
  into?: BatchBuffers,
): Generator<EvaluationBatch, void, undefined> {
  checkBatch(batch);
  const writer = new SampleWriter(data, normalise);
  const buffers = into ?? buffersOf(data, batch);
  writer.check(buffers, batch);
  for (let start = 0; start < data.count; start += batch) {
    const valid = Math.min(batch, data.count - start);
    // Repeated rather than blank: a constant image could make a normalisation divide by zero.
    for (let slot = 0; slot < batch; slot++)
      writer.write(start + Math.min(slot, valid - 1), buffers, slot, 0, 0, false);
    yield { ...buffers, valid };
  }
}

function checkBatch(batch: number): void {
  wholeNumber('batch', batch, 1);
}

function wholeNumber(name: string, value: number, least?: number): void {
  if (Number.isSafeInteger(value) && (least === undefined || value >= least)) return;
  const range = least === undefined ? '' : ` from ${least} upwards`;
  throw new DiagnosticError('usage/option', name, `${value} is not a whole number${range}`);
}
