// The shape of a data set in memory. In: what a reader found in its files. Out: one value the
// loaders index by sample. Invariant: images hold count x channels x height x width bytes in NCHW
// order, labels hold count numbers from 0 up to, not including, classes.

export type Split = 'train' | 'test';

export interface Dataset {
  /** What to call it in messages: the layout and where it came from. */
  readonly name: string;
  readonly count: number;
  readonly channels: number;
  readonly height: number;
  readonly width: number;
  /** Classes of the data: highest label plus one, or the number the layout prescribes. */
  readonly classes: number;
  readonly images: Uint8Array;
  readonly labels: Uint8Array | Int32Array;
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
