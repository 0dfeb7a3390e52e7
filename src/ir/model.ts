// A model. Invariant: what the file says that is not understood stays in `source` and is written back.

import type { LocalFunction } from './body.js';
import { Graph } from './graph.js';

/** A model: the main graph and what the file says around it. */
export class Model {
  readonly graph = new Graph();
  irVersion = 8;
  /** Domain → version; '' = ai.onnx. */
  readonly opsets = new Map<string, number>();
  readonly metadata = new Map<string, string>();
  producerName = '';
  /** What nodes may call like operators. */
  functions: readonly LocalFunction[] = [];
  /** The reader's record of the file. */
  source: unknown;

  get opset(): number {
    return this.opsets.get('') ?? this.opsets.get('ai.onnx') ?? 1;
  }
}
