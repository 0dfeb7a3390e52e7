// A data set worked out by hand, for the tests of the loaders. In: a number of samples and a shape.
// Out: the data set, options that leave its bytes as they are, and buffers. Invariant: the first
// byte of a sample is its number, so that a batch tells which samples are in it.
import type { Dataset, LoaderOptions } from '../../../runtime/data/index.js';

/** Makes the floats equal to the bytes. */
export const AS_IS = (channels: number): { mean: number[]; std: number[] } => ({
  mean: new Array<number>(channels).fill(0),
  std: new Array<number>(channels).fill(1 / 255),
});

export function tiny(count: number, channels = 1, height = 3, width = 4): Dataset {
  const size = channels * height * width;
  const images = Uint8Array.from({ length: count * size }, (_, at) => {
    const sample = Math.floor(at / size);
    return at % size === 0 ? sample : 1 + ((sample * 31 + at * 17) % 255);
  });
  const labels = Int32Array.from({ length: count }, (_, sample) => (sample * 7) % 5);
  return { name: 'tiny', count, channels, height, width, classes: 5, images, labels };
}

export function options(change: Partial<LoaderOptions> = {}): LoaderOptions {
  const augment = { flip: false, cropPadding: 0 };
  return { batch: 4, seed: 11, augment, normalise: AS_IS(1), ...change };
}

export function buffers(
  data: Dataset,
  batch: number,
): { images: Float32Array; labels: BigInt64Array } {
  const size = data.channels * data.height * data.width;
  return { images: new Float32Array(batch * size), labels: new BigInt64Array(batch) };
}

export const upTo = (count: number): number[] => Array.from({ length: count }, (_, at) => at);
