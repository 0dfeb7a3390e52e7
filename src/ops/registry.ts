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
