// Where a training gets its batches. In: what data, which shape, seed and augmentation. Out: facts about the data,
// then one batch after another. Invariant: the batches are those of BatchLoader, whoever prepares them and when.

import { createHash } from 'node:crypto';
import { chooseAugment } from './augment.js';
import type { Dataset, Pixels, Wanted } from './dataset.js';
import { loadDataset } from './load.js';
import { BatchLoader } from './loader.js';
import type { Augment } from './loader.js';
import { measureNormalisation } from './normalise.js';
import type { Normalisation } from './normalise.js';
import { makeBuffers } from './sample.js';
import type { BatchBuffers } from './sample.js';

/** Plain values: they may cross to another thread. */
export interface FeedRequest {
  /** As loadDataset() takes it. */
  readonly data: string;
  readonly wanted: Wanted;
  readonly batch: number;
  readonly seed: number;
  /** Default: by the data. */
  readonly augment?: boolean | Augment;
}

export interface FeedFacts {
  /** Samples in the training split. */
  readonly count: number;
  readonly augment: Augment;
  readonly normalise: Normalisation;
  /** SHA-256 of all labels or targets, token numbers and side inputs: with the normalisation, a fingerprint of the data. */
  readonly labels: string;
}

export interface FeedBatch extends BatchBuffers {
  /** Epoch of the first sample, counted from 0. */
  readonly epoch: number;
}

export interface Feed {
  readonly facts: FeedFacts;
  /** Says where to begin: after so many batches. Call it once, before the first next(). */
  start(after: number): void;
  /** The arrays are the caller's until the call after. */
  next(): Promise<FeedBatch>;
  close(): Promise<void>;
}

/** Loads the data. @throws DiagnosticError data/invalid */
export function openLoader(request: FeedRequest): { facts: FeedFacts; loader: BatchLoader } {
  const { batch, seed } = request;
  const data = loadDataset(request.data, 'train', request.wanted);
  const augment = chooseAugment(request.augment, request.data, data);
  const normalise = measureNormalisation(data);
  return {
    facts: { count: data.count, augment, normalise, labels: fingerprint(data) },
    loader: new BatchLoader(data, { batch, seed, augment, normalise }),
  };
}

function fingerprint({ count, labels, answers, file, sides }: Dataset): string {
  const hash = createHash('sha256').update(bytesOf(labels));
  const tokens = file?.dtype === 'int32' ? file : undefined;
  for (const whole of [answers, tokens, ...(sides?.values() ?? [])])
    for (let sample = 0; whole && sample < count; sample++)
      hash.update(bytesOf(whole.read(sample)));
  return hash.digest('hex');
}

const bytesOf = ({ buffer, byteOffset, byteLength }: Pixels): Uint8Array =>
  new Uint8Array(buffer, byteOffset, byteLength);

export function buffersFor({ batch, wanted }: FeedRequest): BatchBuffers {
  const { channels, height, width, tokens, answers, sides = [] } = wanted;
  return makeBuffers({
    batch,
    size: channels * height * width,
    answers: (answers?.shape ?? []).reduce((n, d) => n * d, 1),
    tokens: tokens !== undefined,
    floats: answers?.floats === true,
    sides,
  });
}

/** Prepares batches in this thread, when they are asked for. @throws DiagnosticError data/invalid */
export function openFeed(request: FeedRequest): Feed {
  const { facts, loader } = openLoader(request);
  const buffers = buffersFor(request);
  return {
    facts,
    start: (after) => {
      loader.seek(after);
    },
    next: () => Promise.resolve({ ...buffers, ...loader.next(buffers) }),
    close: () => {
      loader.close();
      return Promise.resolve();
    },
  };
}
