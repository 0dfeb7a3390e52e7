// How each operator of ONNX is written in PyTorch. One table; an operator that is not in it is refused by name.

import type { Node } from '../../../ir/index.js';
import type { Writer, Writers } from '../writing.js';
import { elementwise } from './elementwise.js';
import { layers } from './layers.js';
import { layout } from './layout.js';
import { reductions } from './reduce.js';

/** By operator; those of our own and those that idioms.ts makes with their domain. */
export const WRITERS: Writers = { ...layers, ...elementwise, ...reductions, ...layout };

export const writerOf = ({ op, domain }: Node): Writer | undefined =>
  WRITERS[domain === '' || domain === 'ai.onnx' ? op : `${domain}.${op}`];
