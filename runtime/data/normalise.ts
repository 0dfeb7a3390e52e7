// Normalisation of pixels. In: a training split, or a mean and a deviation per channel. Out: a table
// from channel and byte to the float the model sees. Invariant: training and evaluation go through
// the same table, each entry rounded to float32 once, so that no two paths differ in a bit.
import type { Dataset } from './dataset.js';
import { pixelsOf } from './dataset.js';
import { bad } from './files.js';

/** Per channel, on the scale where a byte of 255 is 1. */
export interface Normalisation {
  readonly mean: readonly number[];
  readonly std: readonly number[];
}

const zeros = (length: number): number[] => new Array<number>(length).fill(0);
const ones = (length: number): number[] => new Array<number>(length).fill(1);

/** Mean and (population) deviation of every channel; a constant channel gets a deviation of 1, all but bytes stay as they are. */
export function measureNormalisation(data: Dataset): Normalisation {
  const { count, channels } = data;
  if (data.file && data.file.dtype !== 'uint8')
    return { mean: zeros(channels), std: ones(channels) };
  const plane = data.height * data.width;
  // Whole-number histograms keep the sums exact for any number of images.
  const histogram = new Float64Array(channels * 256);
  for (let sample = 0; sample < count; sample++) {
    const pixels = pixelsOf(data, sample);
    for (let channel = 0; channel < channels; channel++) {
      const end = (channel + 1) * plane;
      for (let at = channel * plane; at < end; at++) {
        const bin = channel * 256 + (pixels[at] ?? 0);
        histogram[bin] = (histogram[bin] ?? 0) + 1;
      }
    }
  }
  const mean: number[] = [];
  const std: number[] = [];
  for (let channel = 0; channel < channels; channel++) {
    let sum = 0;
    let squares = 0;
    for (let byte = 0; byte < 256; byte++) {
      const times = histogram[channel * 256 + byte] ?? 0;
      sum += times * byte;
      squares += times * byte * byte;
    }
    const pixels = count * plane;
    const middle = sum / pixels;
    const spread = Math.sqrt(Math.max(0, squares / pixels - middle * middle)) / 255;
    mean.push(Math.fround(middle / 255));
    std.push(spread > 0 ? Math.fround(spread) : 1);
  }
  return { mean, std };
}

/** Entry channel x 256 + byte is (byte / 255 - mean) / std. */
export function normalisationTable(by: Normalisation, channels: number): Float32Array {
  const table = new Float32Array(channels * 256);
  for (let channel = 0; channel < channels; channel++) {
    const mean = by.mean[channel];
    const std = by.std[channel];
    if (mean === undefined || std === undefined || !Number.isFinite(mean) || !(std > 0))
      throw bad(
        'normalisation',
        `channel ${channel} of ${channels} has no finite mean and positive deviation`,
      );
    for (let byte = 0; byte < 256; byte++) table[channel * 256 + byte] = (byte / 255 - mean) / std;
  }
  return table;
}
