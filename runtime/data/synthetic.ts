// Stand-in data for measuring speed and memory. In: the input shape of a model. Out: seeded noise
// with random labels, from which nothing can be learned. Invariant: the same shape gives the same
// bytes every time; the images are made when first read, so that asking for the set costs nothing.
import type { Dataset, Split, Wanted } from './dataset.js';
import { Random } from './random.js';

const SEED = 0x5eed;
const PURPOSE = { images: 1, labels: 2 } as const;
/** Enough for no cache to hold a whole epoch, small beside the memory of a training step. */
const IMAGE_BYTES = 64 * 2 ** 20;
const FEWEST = 16;
const MOST = 4096;

export function syntheticDataset(split: Split, wanted: Wanted): Dataset {
  const { channels, height, width } = wanted;
  const size = channels * height * width;
  const count = Math.min(MOST, Math.max(FEWEST, Math.floor(IMAGE_BYTES / size)));
  const classes = wanted.classes ?? 10;
  const stream = split === 'train' ? 0 : 1;
  const random = new Random(SEED, PURPOSE.labels, stream);
  const labels = Int32Array.from({ length: count }, () => random.below(classes));
  let images: Uint8Array | undefined;
  return {
    name: `random ${split} data`,
    count,
    channels,
    height,
    width,
    classes,
    labels,
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
