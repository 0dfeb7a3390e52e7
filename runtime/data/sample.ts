// Writes samples into the caller's buffers. In: a data set, a sample's number, where its crop starts
// and whether it is mirrored. Out: floats (or token numbers) and a label (or labels, or targets) in their place.
// Invariant: nothing but a view is allocated per sample, and a pixel outside the image is a zero byte, normalised like
// any other.
import { invariant } from '../../src/diagnostics/index.js';
import { SIDE_ARRAYS, pixelsOf } from './dataset.js';
import type { Dataset, SideArray, SideInput } from './dataset.js';
import { bad } from './files.js';
import type { Normalisation } from './normalise.js';
import { normalisationTable } from './normalise.js';

export interface BatchBuffers {
  /** batch x channels x height x width; token numbers as they are */
  readonly images: Float32Array | BigInt64Array;
  /** batch, or batch x what one sample is compared with; float targets of a squared error as they are */
  readonly labels: BigInt64Array | Float32Array;
  /** By name, what the model takes beside the images. */
  readonly sides?: Readonly<Record<string, SideArray>>;
}

export interface BufferShape {
  readonly batch: number;
  /** Elements of a sample, and of what it is compared with. */
  readonly size: number;
  readonly answers: number;
  readonly tokens: boolean;
  readonly floats: boolean;
  readonly sides: readonly SideInput[];
}

export const makeBuffers = ({
  batch,
  size,
  answers,
  tokens,
  floats,
  sides,
}: BufferShape): BatchBuffers => ({
  images: new (tokens ? BigInt64Array : Float32Array)(batch * size),
  labels: new (floats ? Float32Array : BigInt64Array)(batch * answers),
  sides: Object.fromEntries(
    sides.map(({ name, dtype, shape }) => [
      name,
      new SIDE_ARRAYS[dtype](shape.reduce((n, d) => n * d, batch)),
    ]),
  ),
});

/** The buffers that batches of a data set fit into. */
export const buffersOf = (
  { file, answers, ...data }: Dataset,
  batch: number,
  sides: readonly SideInput[] = [],
): BatchBuffers =>
  makeBuffers({
    batch,
    size: data.channels * data.height * data.width,
    answers: answers?.size ?? 1,
    tokens: file?.dtype === 'int32',
    floats: answers?.dtype === 'float32',
    sides,
  });

/** Writes 64-bit numbers by their halves: a bigint each would be garbage. The machine is little-endian, as ONNX is. */
function writeInt64(into: BigInt64Array, at: number, values: ArrayLike<number>): void {
  const words = new Int32Array(into.buffer, into.byteOffset, 2 * into.length);
  for (let i = 0, word = 2 * at; i < values.length; i++, word += 2) {
    const value = values[i] ?? 0;
    words[word] = value;
    words[word + 1] = value < 0 ? -1 : 0;
  }
}

function writeValues(into: SideArray, slot: number, values: ArrayLike<number>): void {
  const at = slot * values.length;
  if (into instanceof BigInt64Array) writeInt64(into, at, values);
  else into.set(values, at);
}

export class SampleWriter {
  readonly size: number;
  private readonly table: Float32Array;
  private readonly answers: number;
  private readonly label = new Int32Array(1);

  constructor(
    private readonly data: Dataset,
    normalise: Normalisation,
  ) {
    this.size = data.channels * data.height * data.width;
    this.table = normalisationTable(normalise, data.channels);
    this.answers = data.answers?.size ?? 1;
  }

  /** Fails where the buffers are not those of a batch of this size. */
  check(into: BatchBuffers, batch: number): void {
    invariant(
      into.images.length === batch * this.size && into.labels.length === batch * this.answers,
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
    const { channels, height, width } = this.data;
    this.writeAnswer(sample, into.labels, slot);
    for (const [name, array] of Object.entries(into.sides ?? {}))
      writeValues(array, slot, this.data.sides?.get(name)?.read(sample) ?? []);
    const pixels = pixelsOf(this.data, sample);
    if (!(into.images instanceof Float32Array)) {
      writeValues(into.images, slot, pixels);
      return;
    }
    // Floats are what the model sees.
    const table = pixels instanceof Uint8Array ? this.table : undefined;
    const out = into.images;
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

  private writeAnswer(sample: number, into: BatchBuffers['labels'], slot: number): void {
    const { answers, labels, classes, name } = this.data;
    if (answers) {
      writeValues(into, slot, answers.read(sample));
      return;
    }
    const label = labels[sample];
    if (label === undefined || label >= classes)
      throw bad(name, `sample ${sample} has no label below ${classes}`);
    this.label[0] = label;
    writeValues(into, slot, this.label);
  }
}
