// What batch norm and its lowerings share: vectors of one number per channel, and the statistics they hold.
// Invariant: channels are axis 1 of [N,C,…], and every variance is the biased one.

import { Tensor, int } from '../ir/index.js';
import type { Value } from '../ir/index.js';
import type { Builder } from './builder.js';
import type { Random } from './random.js';

export const DEFAULT_EPSILON = 1e-5;

const get = (data: Float64Array, i: number): number => data[i] as number;

// ---- building

/** [C] as [1,C,1,…], which broadcasts over X of this rank. */
export const perChannel = (b: Builder, vector: Value, rank: number): Value =>
  b.op('Reshape', [vector, b.ints(1, -1, ...new Array<number>(Math.max(0, rank - 2)).fill(1))], {
    name: 'perChannel',
  });

/** Every axis of X but the channels. */
export const statisticAxes = (rank: number): number[] =>
  Array.from({ length: rank }, (_, i) => i).filter((i) => i !== 1);

/** Sum over every axis but the channels: [C]. */
export const channelSum = (b: Builder, x: Value, rank: number): Value =>
  b.op('ReduceSum', [x, b.ints(...statisticAxes(rank))], {
    attributes: { keepdims: int(0) },
    name: 'channelSum',
  });

// ---- elements

/** Calls visit(channel, start, length) for every plane of X [N,C,…]. */
export function eachPlane(
  dims: readonly number[],
  visit: (channel: number, start: number, length: number) => void,
): void {
  const channels = dims[1] ?? 1;
  const length = dims.slice(2).reduce((n, d) => n * d, 1);
  const planes = (dims[0] ?? 0) * channels;
  for (let p = 0; p < planes; p++) visit(p % channels, p * length, length);
}

/** Mean and biased variance of each channel, by two passes. */
export function channelStatistics(x: Tensor): { mean: Float64Array; variance: Float64Array } {
  const channels = x.dims[1] ?? 1;
  const count = x.size / channels;
  const mean = new Float64Array(channels);
  const variance = new Float64Array(channels);
  eachPlane(x.dims, (c, start, length) => {
    for (let i = start; i < start + length; i++) mean[c] = get(mean, c) + get(x.data, i) / count;
  });
  eachPlane(x.dims, (c, start, length) => {
    for (let i = start; i < start + length; i++)
      variance[c] = get(variance, c) + (get(x.data, i) - get(mean, c)) ** 2 / count;
  });
  return { mean, variance };
}

// ---- samples

/** X with a different mean and deviation in each channel. */
export function channelData(random: Random, dims: readonly number[], offset = 0.5): Tensor {
  const x = random.tensor(dims);
  eachPlane(dims, (c, start, length) => {
    const scale = 0.5 + 0.25 * c;
    for (let i = start; i < start + length; i++)
      x.data[i] = Math.fround(scale * (get(x.data, i) + offset * (c % 2 === 0 ? 1 : -1)));
  });
  return x;
}

/** Positive numbers around 1. */
export const positiveVector = (random: Random, channels: number): Tensor =>
  Tensor.of(
    'float32',
    [channels],
    Array.from({ length: channels }, () => Math.fround(random.uniform(0.5, 1.5))),
  );
