// Finds the definition of a node's operator. In: definitions, registered by the families of src/ops/index.ts.
// Invariant: one definition per (domain, operator).

import { invariant } from '../diagnostics/index.js';
import type { Node } from '../ir/index.js';
import type { OpDefinition } from './definition.js';

/** By domain, then by type: every node made or typed is looked up. */
const definitions = new Map<string, Map<string, OpDefinition>>();

const domainOf = (domain: string): string => (domain === 'ai.onnx' ? '' : domain);

/** Makes the operators of a family known. */
export function registerOps(family: readonly OpDefinition[]): void {
  for (const definition of family) {
    const domain = domainOf(definition.domain ?? '');
    const types = definitions.get(domain) ?? new Map<string, OpDefinition>();
    definitions.set(domain, types);
    const { type } = definition;
    invariant(!types.has(type), `operator ${domain}::${type} is defined twice`);
    types.set(type, definition);
  }
}

export function findOp(node: Node): OpDefinition | undefined {
  return definitions.get(domainOf(node.domain))?.get(node.op);
}

/** Every known operator. */
export function allOps(): OpDefinition[] {
  return [...definitions.values()].flatMap((types) => [...types.values()]);
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
