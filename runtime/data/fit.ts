// Fits a data set to the input of a model. In: the data as read and the shape the model takes. Out:
// a data set of exactly that shape, the same one where nothing had to change. Invariant: pixels are
// only repeated over channels or framed with zeros, never resampled; anything else is refused.
import type { Dataset, SampleFile, Wanted } from './dataset.js';
import { shapeText } from './dataset.js';
import { bad } from './files.js';

/** 28x28 digits in a 32x32 model are framed; photographs in a model of twice the size are an error. */
const MOST_PADDING = 8;

export function fitDataset(data: Dataset, wanted: Wanted): Dataset {
  checkForm(data, wanted);
  checkLabels(data, wanted);
  for (const { name, limit } of wanted.sides ?? [])
    if (limit !== undefined) checkTokens(data, data.sides?.get(name), limit);
  if (wanted.tokens) {
    checkTokens(data, data.file, wanted.tokens.limit);
    return data;
  }
  const given = `images are ${shapeText(data)}, the model takes ${shapeText(wanted)}`;
  if (data.channels !== wanted.channels && data.channels !== 1)
    throw bad(data.name, `${given}: only grey images can be repeated over other channels`);
  const tall = wanted.height - data.height;
  const wide = wanted.width - data.width;
  if (tall < 0 || wide < 0)
    throw bad(
      data.name,
      `${given}: the images are larger, and cropping them would lose their edges`,
    );
  if (tall > MOST_PADDING || wide > MOST_PADDING)
    throw bad(
      data.name,
      `${given}: a frame of more than ${MOST_PADDING} pixels in all is too much to be meant`,
      'export the model for the size of the images, or resize the images beforehand',
    );
  if (tall === 0 && wide === 0 && data.channels === wanted.channels) return data;

  const { channels, height, width } = wanted;
  if (data.file)
    throw bad(data.name, `${given}: arrays are taken as they are`, 'save them in that shape');
  const images = new Uint8Array(data.count * channels * height * width);
  const source = data.images;
  const top = Math.floor(tall / 2);
  const left = Math.floor(wide / 2);
  for (let sample = 0; sample < data.count; sample++) {
    for (let channel = 0; channel < channels; channel++) {
      const plane = sample * data.channels + (data.channels === 1 ? 0 : channel);
      for (let y = 0; y < data.height; y++) {
        const from = (plane * data.height + y) * data.width;
        const to = ((sample * channels + channel) * height + top + y) * width + left;
        for (let x = 0; x < data.width; x++) images[to + x] = source[from + x] ?? 0;
      }
    }
  }
  return { ...data, channels, height, width, images };
}

/** Image files have one label each, and no token numbers. */
function checkForm({ name, file, answers, sides }: Dataset, wanted: Wanted): void {
  const arrays = 'save NumPy arrays: see "Training data" in README.md';
  if (wanted.tokens && file?.dtype !== 'int32')
    throw bad(name, 'the model takes token numbers, these are images', arrays);
  const missing = wanted.sides?.find((side) => !sides?.has(side.name));
  if (missing) throw bad(name, `the model also takes ${missing.name}, these are images`, arrays);
  if (!wanted.answers || answers) return;
  const { shape, floats } = wanted.answers;
  throw bad(
    name,
    `there is one label per image, the loss compares with ${floats ? 'floats' : 'labels'} [${['N', ...shape].join(', ')}]`,
    arrays,
  );
}

function checkTokens(
  { name, count }: Dataset,
  file: SampleFile | undefined,
  limit = Infinity,
): void {
  for (let sample = 0; file && sample < count; sample++) {
    const token = file.read(sample).find((id) => !(id >= 0 && id < limit));
    if (token !== undefined)
      throw bad(
        name,
        `sample ${sample} holds token ${token}, the model looks tokens up in a table of ${limit} rows (0 to ${limit - 1})`,
        'make the numbers with the tokenizer of this model',
      );
  }
}

function checkLabels(data: Dataset, { classes, ignoreIndex, answers }: Wanted): void {
  if (answers?.floats) return;
  const wrong = (label: number): boolean =>
    label !== ignoreIndex && !(label >= 0 && label < (classes ?? Infinity));
  for (let sample = 0; sample < data.count; sample++) {
    const labels = data.answers?.read(sample) ?? data.labels.subarray(sample, sample + 1);
    const label = labels.find(wrong);
    if (label !== undefined)
      throw bad(
        data.name,
        classes === undefined
          ? `sample ${sample} has label ${label}`
          : `sample ${sample} has label ${label}, the model tells ${classes} classes apart (0 to ${classes - 1})`,
        label < 0 || answers
          ? 'a label that is not to count is compiled in with --ignore-index'
          : 'train a model with enough outputs, or use data with fewer classes',
      );
  }
}
