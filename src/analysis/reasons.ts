// Why an Add is coupled, or is left as it is. In: what the analysis found. Out: reasons as data: a code, a sentence
// about this Add, what the user could change. Invariant: every code stands here, with its advice; the sentence says
// nothing that was not looked at.

import type { Dim, Node, Shape, Value } from '../ir/index.js';

/** What the user could change; null: nothing needs to be. */
const ADVICE = {
  // Coupled.
  coupled: null,
  transition: null,
  reversible: null,
  // Residual, and left.
  alone: 'give the stage a second block of this shape, directly behind it',
  nested: null,
  unproved: 'give the open extents: --input-shape name:d,d,…, or export with fixed sizes',
  operator:
    'export the model without this operator, or add it under src/ops/ (inspect notes all of them)',
  stored: '--transitions coupled gives each stream a shortcut of its own',
  recipe: 'leave out --recipe none',
  parallel:
    'let the second branch read the result of the first: y = x + f(x), then y + g(y); x + f(x) + g(x) has no two streams',
  tapped: 'let the reader outside take the sum, or a value before the block',
  exit: 'remove this output for the training (an auxiliary head, features, a cache)',
  cache: 'export without the cache (use_cache=False): a training step has no past',
  side: 'make the other input a constant of the model, or compute it from the first input',
  broadcast: 'let the branch end in the shape of its input',
  // No residual block.
  constant: null,
  integers: null,
  twice: 'use a multiplication by 2 if it was meant; it is no residual connection',
  operands: 'write the sum as Adds of two operands, the shortcut last',
  origins: null,
  weightless: null,
  gated:
    'a gate has no inverse that rounding survives: replace x·g + f·(1 − g) by x + f, or train it as it is (--recipe none)',
  shared: null,
} as const satisfies Readonly<Record<string, string | null>>;

export type ReasonCode = keyof typeof ADVICE;

export interface Reason {
  readonly code: ReasonCode;
  /** A sentence about this Add, without a full stop. */
  readonly why: string;
  /** What the user could change. */
  readonly advice: string | null;
}

export const because = (code: ReasonCode, why: string): Reason => ({
  code,
  why,
  advice: ADVICE[code],
});

export const nodeName = (node: Node): string => `${node.name} (${node.op})`;

const shapeText = (shape: Shape | undefined): string =>
  shape ? `[${shape.join(', ')}]` : 'unknown';

/** The axes on which two shapes are not known to agree, counted from the last as broadcasting does. */
function disagreements(a: Shape, b: Shape): string[] {
  const found: string[] = [];
  for (let k = 1; k <= Math.max(a.length, b.length); k++) {
    const [m, n]: (Dim | undefined)[] = [a.at(-k), b.at(-k)];
    if (m === n && m !== undefined) continue;
    found.push(
      `axis ${Math.max(a.length, b.length) - k}: ${m ?? 'missing'} against ${n ?? 'missing'}`,
    );
  }
  return found.reverse();
}

/** "[N, 4, 8, 8] and [N, 4, 1, 1], axis 2: 8 against 1, …". */
export function shapesText(p: Value, q: Value): string {
  const [a, b] = [p.shape, q.shape];
  const unknown = [p, q].filter((v) => !v.shape).map((v) => `the shape of ${v.name} is not known`);
  if (!a || !b) return unknown.join(', ');
  return `${shapeText(a)} and ${shapeText(b)}, ${disagreements(a, b).join(', ')}`;
}
