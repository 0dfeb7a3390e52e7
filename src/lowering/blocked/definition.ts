// How a step is computed in the blocked layout. In: a node, and where to get its operands in either layout. Out: values
// that replace its results. Invariant: a rule is asked only where `applies` says so; the rest stays plain.

import type { Node, Value } from '../../ir/index.js';
import { REVNETIFY } from '../../ops/index.js';
import type { LowerContext } from '../definition.js';
import type { BlockedSteps } from './steps.js';

export interface BlockedContext extends LowerContext {
  readonly s: BlockedSteps;
  /** The operand in the blocked layout; converted where it is plain. */
  blocked(index: number): Value;
  /**
   * A weight under another shape, [N,C,H,W], in blocks; in a recompute it waits for the token, or it would be kept from the
   * forward pass.
   */
  weight(index: number, dims: readonly number[]): Value;
}

export interface BlockedLowering {
  readonly type: string;
  /** Default: our own domain. */
  readonly domain?: string;
  /** How many operands, from the first on, are maps [N,C,H,W] or their weights. */
  readonly maps: number;
  /** Only where an operand lies in blocks already: converting one for it would not pay. */
  readonly follows?: boolean;
  /** Whether the node can be computed so; the operands counted by `maps` are static, float32 and of rank 4. */
  applies(node: Node, block: number): boolean;
  /** Whether result 0 is in the blocked layout; default true. The others are vectors. */
  readonly isPlain?: boolean;
  build(ctx: BlockedContext): (Value | undefined)[];
}

export const domainOf = ({ domain = REVNETIFY }: BlockedLowering): string => domain;

/** Extents of an operand or result. */
export const dimsOf = (value: Value | undefined): readonly number[] =>
  (value?.shape ?? []).map(Number);

export const isMultiple = (count: number | undefined, block: number): boolean =>
  count !== undefined && count > 0 && count % block === 0;
