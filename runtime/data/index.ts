// The data pipeline: from files to batches. In: the value of --data and the input of a model. Out:
// a data set, its normalisation, and loaders that fill the buffers a training step reads.
// Invariant: the same data, seed and options give the same batches, bit for bit.
export { closeDataset, isSideType, shapeText } from './dataset.js';
export type { Dataset, SideArray, SideInput, Split, Wanted } from './dataset.js';
export { openFeed } from './feed.js';
export { canPrefetch, openPrefetch } from './prefetch.js';
export type { Feed, FeedBatch, FeedFacts, FeedRequest } from './feed.js';
export { loadDataset } from './load.js';
export { BatchLoader, evaluationBatches } from './loader.js';
export type { Augment, EvaluationBatch, LoaderOptions } from './loader.js';
export { measureNormalisation } from './normalise.js';
export type { Normalisation } from './normalise.js';
export { Random } from './random.js';
export { buffersOf } from './sample.js';
export type { BatchBuffers } from './sample.js';
