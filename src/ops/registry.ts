// Finds the definition of a node's operator. In: definitions, registered by the families of src/ops/index.ts.
// Invariant: one definition per (domain, operator).

import { invariant } from '../diagnostics/index.js';
import type { Node } from '../ir/index.js';
import type { OpDefinition } from './definition.js';

const definitions = new Map<string, OpDefinition>();

const key = (domain: string, type: string): string =>
  `${domain === 'ai.onnx' ? '' : domain}::${type}`;

/** Makes the operators of a family known. */
export function registerOps(family: readonly OpDefinition[]): void {
  for (const definition of family) {
    const id = key(definition.domain ?? '', definition.type);
    invariant(!definitions.has(id), `operator ${id} is defined twice`);
    definitions.set(id, definition);
  }
}

export function findOp(node: Node): OpDefinition | undefined {
  return definitions.get(key(node.domain, node.op));
}

/** Every known operator. */
export function allOps(): OpDefinition[] {
  return [...definitions.values()];
}

const OPEN_COUNT =
  'how many results it has depends on the data, and the step is compiled for fixed shapes';
const CONTROL = 'control flow has no fixed schedule of what to keep and what to recompute';

/** Operators that are left out on purpose. */
const LEFT_OUT: Readonly<Record<string, string>> = {
  NonZero: OPEN_COUNT,
  Compress: OPEN_COUNT,
  Unique: OPEN_COUNT,
  NonMaxSuppression: OPEN_COUNT,
  If: CONTROL,
  Loop: CONTROL,
  Scan: CONTROL,
};

/** Why there is no definition of an operator, where it is left out on purpose. */
export const leftOutReason = (node: Node): string | undefined =>
  node.domain === '' || node.domain === 'ai.onnx' ? LEFT_OUT[node.op] : undefined;

/** Why a node cannot be typed or evaluated. */
export const noDefinition = (node: Node): string =>
  leftOutReason(node) ?? `there is no definition of ${node.domain || 'ai.onnx'}.${node.op}`;
