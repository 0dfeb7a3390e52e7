// The shape of a data set in memory. In: what a reader found in its files. Out: one value the
// loaders index by sample. Invariant: images hold count x channels x height x width bytes in NCHW
// order (or a file gives one sample at a time), labels hold count numbers from 0 up to, not including, classes.

export type Split = 'train' | 'test';

/** One sample in NCHW order. Bytes are normalised; floats are what the model sees. */
export type Pixels = Uint8Array | Float32Array;

/** Pixels that are read when they are needed. */
export interface SampleFile {
  readonly floats: boolean;
  /** The same memory every time. */
  read(sample: number): Pixels;
  close(): void;
}

export interface Dataset {
  /** What to call it in messages: the layout and where it came from. */
  readonly name: string;
  readonly count: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** Classes of the data: highest label plus one, or the number the layout prescribes. */
  readonly classes: number;
  /** Empty where the pixels stay in a file. */
  readonly images: Uint8Array;
  readonly file?: SampleFile;
  readonly labels: Uint8Array | Int32Array;
}

export function pixelsOf(data: Dataset, sample: number): Pixels {
  if (data.file) return data.file.read(sample);
  const size = data.channels * data.height * data.width;
  return data.images.subarray(sample * size, (sample + 1) * size);
}

/** What the model's input takes, and how many classes its output has where that is known. */
export interface Wanted {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  readonly classes?: number;
}

/** A shape for messages: "3x32x32". */
export function shapeText(of: { channels: number; height: number; width: number }): string {
  return `${of.channels}x${of.height}x${of.width}`;
}
