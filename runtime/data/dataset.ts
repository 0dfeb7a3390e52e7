// The shape of a data set in memory. In: what a reader found in its files. Out: one value the
// loaders index by sample. Invariant: images hold count x channels x height x width bytes in NCHW
// order (or a file gives one sample at a time), labels hold count numbers from 0 up to, not including, classes,
// unless answers take their place.

export type Split = 'train' | 'test';

/** One sample in NCHW order. Bytes are normalised; floats are what the model sees, and so are whole numbers (tokens). */
export type Pixels = Uint8Array | Float32Array | Int32Array;

/** Arrays of one shape, one per sample, that are read when they are needed. */
export interface SampleFile {
  readonly dtype: 'uint8' | 'int32' | 'float32';
  /** Elements of a sample. */
  readonly size: number;
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
  /** Empty where there are answers. */
  readonly labels: Uint8Array | Int32Array;
  /** What the loss compares with where that is more than a label: labels per pixel or token, or float targets. */
  readonly answers?: SampleFile;
  /** By name, what the model takes beside the images. */
  readonly sides?: ReadonlyMap<string, SampleFile>;
}

export function pixelsOf(data: Dataset, sample: number): Pixels {
  if (data.file) return data.file.read(sample);
  const size = data.channels * data.height * data.width;
  return data.images.subarray(sample * size, (sample + 1) * size);
}

/** Closes the files of the data. */
export function closeDataset(data: Dataset): void {
  data.file?.close();
  data.answers?.close();
  for (const side of data.sides?.values() ?? []) side.close();
}

/** What the model's input takes, and what its loss compares with. Plain values. */
export interface Wanted {
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** Of a sample, as the model takes it; default: channels, height, width. */
  readonly shape?: readonly number[];
  /** Whole numbers instead of pixels, from 0 up to, not including, the limit (rows of an embedding). */
  readonly tokens?: { readonly limit?: number };
  /** How many classes the output has where that is known. */
  readonly classes?: number;
  /** Per sample: labels of this shape, or float targets. Default: one label. */
  readonly answers?: { readonly shape: readonly number[]; readonly floats: boolean };
  /** A label that is no class, and does not count. */
  readonly ignoreIndex?: number;
  readonly sides?: readonly SideInput[];
}

/** The arrays that an input beside the images is fed from. */
export const SIDE_ARRAYS = {
  float32: Float32Array,
  int64: BigInt64Array,
  int32: Int32Array,
  bool: Uint8Array,
} as const;
export type SideArray = Float32Array | BigInt64Array | Int32Array | Uint8Array;

/** Whether an input beside the images may have this element type. */
export const isSideType = (dtype: string): dtype is SideInput['dtype'] =>
  Object.hasOwn(SIDE_ARRAYS, dtype);

/** An input beside the images. */
export interface SideInput {
  readonly name: string;
  readonly dtype: keyof typeof SIDE_ARRAYS;
  /** Of a sample. */
  readonly shape: readonly number[];
  /** Rows of the table that the numbers are looked up in. */
  readonly limit?: number;
}

/** A shape for messages: "3x32x32". */
export function shapeText(of: { channels: number; height: number; width: number }): string {
  return `${of.channels}x${of.height}x${of.width}`;
}
