// What is fuzzed. In: a kind and a seed. Out: the bytes of a file. Invariant: kind and seed say everything.

import { readFileSync } from 'node:fs';
import { preResNet, resNetImageNet, resNetV1 } from '../../fixtures/models.js';
import { encodeModel } from '../../src/onnx/index.js';
import { Random } from '../../src/ops/index.js';
import type { Model } from '../../src/ir/index.js';
import { encodeSample } from '../onnx/helpers.js';
import { randomGraph } from './graphs.js';
import { mutate } from './mutate.js';

/** files: valid files, damaged. graphs: random networks. */
export const KINDS = ['files', 'graphs'] as const;
export type Kind = (typeof KINDS)[number];

export interface Case {
  readonly bytes: Uint8Array;
  /** For the settings it is compiled with. */
  readonly random: Random;
}

const bytesOf = (model: Model): Uint8Array => encodeModel(model).bytes;
/** Random networks among the files that are damaged. */
const GRAPHS = 12;

let pool: readonly Uint8Array[] | undefined;

const files = (): readonly Uint8Array[] =>
  (pool ??= [
    bytesOf(preResNet({ depth: 8, width: 2, image: 8 })),
    bytesOf(resNetV1({ depth: 8, width: 2, image: 8, shortcut: 'A' })),
    bytesOf(resNetImageNet({ layers: [2, 1], width: 2, image: 32, classes: 3 })),
    encodeSample(),
    ...Array.from({ length: GRAPHS }, (_, seed) => bytesOf(randomGraph(new Random(seed)))),
    Uint8Array.from(readFileSync('fixtures/resnet20.onnx')),
  ]);

export function makeCase(kind: Kind, seed: number): Case {
  const random = new Random(seed);
  const bytes = kind === 'graphs' ? bytesOf(randomGraph(random)) : mutate(files(), random);
  return { bytes, random };
}
