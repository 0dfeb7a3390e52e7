// Stand-in data for measuring speed and memory. In: the input shape of a model. Out: seeded noise
// with random labels (or tokens, or targets), from which nothing can be learned. Invariant: the same shape gives the
// same bytes every time; the images are made when first read, so that asking for the set costs nothing.
import type { Dataset, SampleFile, SideInput, Split, Wanted } from './dataset.js';
import { Random } from './random.js';

const SEED = 0x5eed;
const PURPOSE = { images: 1, labels: 2, answers: 3, tokens: 4, sides: 5 } as const;
/** Enough for no cache to hold a whole epoch, small beside the memory of a training step. */
const IMAGE_BYTES = 64 * 2 ** 20;
const FEWEST = 16;
const MOST = 4096;

export function syntheticDataset(split: Split, wanted: Wanted): Dataset {
  const { channels, height, width } = wanted;
  const size = channels * height * width;
  const count = Math.min(MOST, Math.max(FEWEST, Math.floor(IMAGE_BYTES / size)));
  const { answers, tokens, classes = 10 } = wanted;
  const stream = split === 'train' ? 0 : 1;
  const random = new Random(SEED, PURPOSE.labels, stream);
  const labels = Int32Array.from({ length: answers ? 0 : count }, () => random.below(classes));
  let images: Uint8Array | undefined;
  return {
    name: `random ${split} data`,
    count,
    channels,
    height,
    width,
    classes,
    labels,
    ...(tokens ? { file: numbers(size, tokens.limit ?? 1, [PURPOSE.tokens, stream]) } : {}),
    sides: new Map(
      (wanted.sides ?? []).map((side, index) => [side.name, sideOf(side, stream, index)]),
    ),
    ...(answers ? { answers: answersOf(answers, classes, stream) } : {}),
    get images() {
      images ??= noise(count * size, stream);
      return images;
    },
  };
}

function noise(length: number, stream: number): Uint8Array {
  const random = new Random(SEED, PURPOSE.images, stream);
  const bytes = new Uint8Array(length);
  // By hand and not over a Uint32Array, so that the bytes do not depend on the machine's byte order.
  for (let at = 0; at < length; at += 4) {
    const word = random.uint32();
    bytes[at] = word;
    bytes[at + 1] = word >>> 8;
    bytes[at + 2] = word >>> 16;
    bytes[at + 3] = word >>> 24;
  }
  return bytes;
}

/** Made anew whenever a sample is read. @param key of the stream, beside the number of the sample */
function numbers(size: number, limit: number, [purpose, stream]: [number, number]): SampleFile {
  const values = new Int32Array(size);
  const random = new Random(SEED);
  const read = (sample: number): Int32Array => {
    random.reseed(SEED + stream, purpose, sample);
    for (let at = 0; at < size; at++) values[at] = random.below(limit);
    return values;
  };
  return { dtype: 'int32', size, read, close: () => undefined };
}

/** Labels below the number of classes, or floats. */
function answersOf(
  { shape, floats }: NonNullable<Wanted['answers']>,
  classes: number,
  stream: number,
): SampleFile {
  const size = shape.reduce((n, d) => n * d, 1);
  const key: [number, number] = [PURPOSE.answers, stream];
  return floats ? floatsOf(size, key) : numbers(size, classes, key);
}

/** Masks hide nothing. @param index of the input, so that no two are the same */
function sideOf({ dtype, shape, limit }: SideInput, stream: number, index: number): SampleFile {
  const size = shape.reduce((n, d) => n * d, 1);
  const key: [number, number] = [PURPOSE.sides + index, stream];
  if (dtype === 'float32') return floatsOf(size, key);
  if (limit !== undefined) return numbers(size, limit, key);
  const ones = new Int32Array(size).fill(1);
  return { dtype: 'int32', size, read: () => ones, close: () => undefined };
}

/** From −1 up to, not including, 1. */
function floatsOf(size: number, key: [number, number]): SampleFile {
  const steps = 2 ** 16;
  const source = numbers(size, 2 * steps, key);
  const values = new Float32Array(size);
  const read = (sample: number): Float32Array => {
    const drawn = source.read(sample);
    for (let at = 0; at < size; at++) values[at] = (drawn[at] ?? 0) / steps - 1;
    return values;
  };
  return { dtype: 'float32', size, read, close: () => undefined };
}
