// What users declare passes with. In: name, summary, run. Out: a pass over the state of a compilation. Invariant: such
// a pass is checked more closely than those of this package, and blamed for its own faults.

import { definePass as defineAnyPass } from '../src/rewrite/index.js';
import type { OptionValues, Pass, PassOption } from '../src/rewrite/index.js';
import type { CompileState } from './state.js';

export interface UserPass<O extends Readonly<Record<string, PassOption>>> {
  /** Lower-case words with hyphens: "fuse-pads". */
  readonly name: string;
  /** One line for --list-passes. */
  readonly summary: string;
  /** Options that a pipeline may give it: NAME{option=value}. */
  readonly options?: O;
  /** Names of passes that must have run before. */
  readonly needs?: readonly string[];
  /** Changes state.model.graph in place. */
  readonly run: (state: CompileState, options: OptionValues<O>) => unknown;
}

/**
 * Declares a pass: a function that changes the graph.
 * @throws DiagnosticError pass/invalid saying what is wrong with the declaration
 */
export const definePass = <
  const O extends Readonly<Record<string, PassOption>> = Readonly<Record<string, PassOption>>,
>(
  pass: UserPass<O>,
): Pass<CompileState> => defineAnyPass<CompileState, O>(pass);
