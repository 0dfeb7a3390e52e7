// Types of a whole graph. In: a graph in topological order. Out: a type on every value that can be typed, and
// the contents of shape arithmetic. Invariant: run twice, the result is the same.

import { DiagnosticError } from '../diagnostics/index.js';
import type { Graph, Value } from '../ir/index.js';
import { inferNode } from '../ops/index.js';
import type { Contents } from '../ops/index.js';

interface TypingProblem {
  readonly node: string;
  readonly error: DiagnosticError;
}

export interface Typing {
  readonly contents: Contents;
  /** Nodes that could not be typed. Those behind them are often without types for that reason alone. */
  readonly problems: readonly TypingProblem[];
}

/** What no further knowledge can mend. */
const CONTRADICTIONS = new Set<string>(['shape/mismatch', 'model/invalid']);

/**
 * Types every node it can. Contradictions (shapes that do not fit, operands and attributes that an operator cannot do
 * without) are thrown, what is merely not known is reported.
 */
export function inferTypes(graph: Graph): Typing {
  const contents: Contents = new WeakMap<Value, readonly (number | string)[]>();
  const problems: TypingProblem[] = [];
  for (const node of graph.nodes) {
    try {
      inferNode(node, contents);
    } catch (error) {
      if (!(error instanceof DiagnosticError) || CONTRADICTIONS.has(error.code)) throw error;
      problems.push({ node: node.name, error });
    }
  }
  return { contents, problems };
}
