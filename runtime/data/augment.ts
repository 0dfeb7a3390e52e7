// Which augmentation a training gets. In: what was asked for, and the data. Out: crops and flips, or none. Invariant:
// what is mirrored without being asked for is a photograph with one label.

import { DiagnosticError } from '../../src/diagnostics/index.js';
import { pixelsOf } from './dataset.js';
import type { Dataset } from './dataset.js';
import type { Augment } from './loader.js';

const NONE: Augment = { flip: false, cropPadding: 0 };
/** What ResNets are trained with on CIFAR (He et al. 2015, section 4.2). */
const CIFAR: Augment = { flip: true, cropPadding: 4 };

/** @param asked true: as on CIFAR; undefined: so for 32×32 colour images, else none */
export function chooseAugment(
  asked: boolean | Augment | undefined,
  spec: string,
  data: Dataset,
): Augment {
  // Labels per pixel would stay where they are, and token numbers are no picture.
  const fixed = data.answers !== undefined || data.file?.dtype === 'int32';
  if (fixed && asked !== undefined && asked !== false)
    throw new DiagnosticError(
      'usage/option',
      'augment',
      'only images with one label each are cropped and flipped',
      'prepare the arrays that way',
    );
  if (fixed) return NONE;
  if (typeof asked === 'object') return asked;
  if (asked !== undefined) return asked ? CIFAR : NONE;
  if (spec === 'random') return NONE;
  const small = data.channels === 3 && data.height === 32 && data.width === 32;
  return small && isColour(data) ? CIFAR : NONE;
}

/** Whether channels differ: digits repeated over three channels must not be mirrored. */
function isColour(data: Dataset): boolean {
  const plane = data.height * data.width;
  for (let sample = 0; sample < Math.min(data.count, 16); sample++) {
    const pixels = pixelsOf(data, sample);
    for (let at = 0; at < plane; at++) if (pixels[at] !== pixels[at + plane]) return true;
  }
  return false;
}
