// Fits a data set to the input of a model. In: the data as read and the shape the model takes. Out:
// a data set of exactly that shape, the same one where nothing had to change. Invariant: pixels are
// only repeated over channels or framed with zeros, never resampled; anything else is refused.
import type { Dataset, Wanted } from './dataset.js';
import { shapeText } from './dataset.js';
import { bad } from './files.js';

/** 28x28 digits in a 32x32 model are framed; photographs in a model of twice the size are an error. */
const MOST_PADDING = 8;

export function fitDataset(data: Dataset, wanted: Wanted): Dataset {
  checkLabels(data, wanted);
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

function checkLabels(data: Dataset, wanted: Wanted): void {
  const classes = wanted.classes;
  if (classes === undefined) return;
  const at = data.labels.findIndex((label) => label >= classes);
  if (at >= 0)
    throw bad(
      data.name,
      `sample ${at} has label ${data.labels[at] ?? 0}, the model tells ${classes} classes apart (0 to ${classes - 1})`,
      'train a model with enough outputs, or use data with fewer classes',
    );
}
