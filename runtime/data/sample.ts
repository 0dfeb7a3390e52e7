// Writes samples into the caller's buffers. In: a data set, a sample's number, where its crop starts
// and whether it is mirrored. Out: floats and a label in their place. Invariant: nothing but
// a view is allocated per sample, and a pixel outside the image is a zero byte, normalised like any other.
import { invariant } from '../../src/diagnostics/index.js';
import { pixelsOf } from './dataset.js';
import type { Dataset } from './dataset.js';
import { bad } from './files.js';
import type { Normalisation } from './normalise.js';
import { normalisationTable } from './normalise.js';

export interface BatchBuffers {
  /** batch x channels x height x width */
  readonly images: Float32Array;
  /** batch */
  readonly labels: BigInt64Array;
}

export class SampleWriter {
  readonly size: number;
  private readonly table: Float32Array;
  /** Made once: turning a number into a bigint allocates. */
  private readonly bigLabels: readonly bigint[];

  constructor(
    private readonly data: Dataset,
    normalise: Normalisation,
  ) {
    this.size = data.channels * data.height * data.width;
    this.table = normalisationTable(normalise, data.channels);
    this.bigLabels = Array.from({ length: data.classes }, (_, label) => BigInt(label));
  }

  /** Fails where the buffers are not those of a batch of this size. */
  check(into: BatchBuffers, batch: number): void {
    invariant(
      into.images.length === batch * this.size && into.labels.length === batch,
      `batch buffers of ${into.images.length} and ${into.labels.length} elements do not hold ` +
        `${batch} samples of ${this.size}`,
    );
  }

  /**
   * @param sample number of the sample in the data set
   * @param slot its place in the batch
   * @param top row of the image that becomes row 0; may be negative
   * @param left column of the image that becomes column 0; may be negative
   * @param mirror turns the crop left to right
   */
  write(
    sample: number,
    into: BatchBuffers,
    slot: number,
    top: number,
    left: number,
    mirror: boolean,
  ): void {
    const { channels, height, width, labels } = this.data;
    const pixels = pixelsOf(this.data, sample);
    // Floats are what the model sees.
    const table = pixels instanceof Uint8Array ? this.table : undefined;
    const out = into.images;
    const label = this.bigLabels[labels[sample] ?? -1];
    if (label === undefined)
      throw bad(this.data.name, `sample ${sample} has no label below ${this.data.classes}`);
    into.labels[slot] = label;
    // Columns first … last - 1 of the crop lie inside the image, on every row.
    const first = Math.min(width, Math.max(0, -left));
    const last = Math.max(first, Math.min(width, width - left));
    const step = mirror ? -1 : 1;
    for (let channel = 0; channel < channels; channel++) {
      const base = channel * 256;
      const outside = table?.[base] ?? 0;
      for (let y = 0; y < height; y++) {
        const row = slot * this.size + (channel * height + y) * width;
        const from = y + top;
        if (from < 0 || from >= height) {
          out.fill(outside, row, row + width);
          continue;
        }
        const line = (channel * height + from) * width + left;
        let to = mirror ? row + width - 1 : row;
        for (let x = 0; x < first; x++, to += step) out[to] = outside;
        if (table)
          for (let x = first; x < last; x++, to += step)
            out[to] = table[base + (pixels[line + x] ?? 0)] ?? 0;
        else for (let x = first; x < last; x++, to += step) out[to] = pixels[line + x] ?? 0;
        for (let x = last; x < width; x++, to += step) out[to] = outside;
      }
    }
  }
}
