// Passes and the pipeline that runs them. In: a state that holds a model, a list of passes. Out: the same
// state, changed. Invariant: after every pass the graph is well formed, or the pass is named and blamed.

import type { Model } from '../ir/index.js';
import { assertValid } from '../ir/verify.js';

/** One rewriting step. S is the state it works on; it must at least hold the model. */
export interface Pass<S extends { readonly model: Model } = { readonly model: Model }> {
  /** File name and catalogue name: "couple-residual-blocks". */
  readonly name: string;
  /** One line for --list-passes. */
  readonly summary: string;
  run(state: S): void;
}

export const definePass = <S extends { readonly model: Model }>(pass: Pass<S>): Pass<S> => pass;

/** Told what each pass did: timing, dumps. */
export interface Instrument {
  afterPass(name: string, model: Model, milliseconds: number): void;
}

/** Runs passes in order, with the verifier after each. @throws DiagnosticError pass/failed */
export function runPipeline<S extends { readonly model: Model }>(
  passes: readonly Pass<S>[],
  state: S,
  instruments: readonly Instrument[] = [],
): void {
  for (const pass of passes) {
    const start = performance.now();
    pass.run(state);
    const elapsed = performance.now() - start;
    assertValid(state.model, pass.name);
    for (const instrument of instruments) instrument.afterPass(pass.name, state.model, elapsed);
  }
}
