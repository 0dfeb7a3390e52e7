// Runs passes in order. In: passes, and a state that holds a model. Out: the same state, changed. Invariant: after
// every pass the graph is well formed, or one message names the pass, the rule and the node. The passes of a training step
// are this package's own, and verified together (compiler/step.ts).

import { DiagnosticError } from '../diagnostics/index.js';
import type { Graph } from '../ir/index.js';
import { describeProblems, verifyGraph } from '../ir/verify.js';
import type { Problem } from '../ir/verify.js';
import { findWrongTypes } from './check-types.js';
import type { Instrument, Outcome, Pass, PassState } from './pass.js';

/**
 * Runs passes in order, with the verifier after each.
 * @param trusted the caller verifies what comes out: the verifier is left out after passes of this package
 * @throws DiagnosticError pass/failed
 */
export function runPipeline<S extends PassState>(
  passes: readonly Pass<S>[],
  state: S,
  instruments: readonly Instrument[] = [],
  trusted = false,
): void {
  for (const pass of passes) {
    const start = performance.now();
    const outcome = runPass(pass, state);
    const elapsed = performance.now() - start;
    const problems = trusted && pass.builtIn ? [] : verifyGraph(state.model);
    // The passes of this package leave types to infer-types; those of others are not trusted to.
    if (problems.length === 0 && !pass.builtIn) problems.push(...findWrongTypes(state.model));
    const [first] = problems;
    if (first)
      throw failure(
        pass,
        first.where,
        describeProblems(problems),
        advice(first, state.model.graph),
      );
    for (const instrument of instruments)
      instrument.afterPass(pass.name, state.model, elapsed, outcome);
  }
}

function runPass<S extends PassState>(pass: Pass<S>, state: S): Outcome | undefined {
  let outcome: unknown;
  try {
    outcome = pass.run(state);
  } catch (error) {
    if (!(error instanceof DiagnosticError)) throw failure(pass, undefined, describeThrown(error));
    // What the passes of this package refuse is the model's fault, and said so.
    if (pass.builtIn) throw error;
    throw failure(pass, error.where, error.why);
  }
  if (outcome instanceof Promise) {
    // It is refused now; what becomes of it later is of no interest.
    outcome.catch(() => undefined);
    throw failure(
      pass,
      undefined,
      'its run returns a promise, so the graph would change after it was checked',
      'make run an ordinary function; load files before, at the top of the module',
    );
  }
  return isOutcome(outcome) ? outcome : undefined;
}

const isOutcome = (value: unknown): value is Outcome =>
  typeof value === 'object' && value !== null && 'changes' in value && 'reasons' in value;

const REPORT = 'this is a bug in the pass; please report it with the model';

function failure(
  pass: Pass<never>,
  where: string | undefined,
  why: string,
  hint = 'correct the pass; --dump-after shows the graph after each pass before it',
): DiagnosticError {
  return new DiagnosticError(
    'pass/failed',
    where === undefined ? `pass ${pass.name}` : `pass ${pass.name}, ${where}`,
    why,
    pass.builtIn ? REPORT : hint,
  );
}

/** What an author of a pass is told to do about a broken rule, where it can be told. */
function advice({ rule }: Problem, graph: Graph): string | undefined {
  if (!rule.startsWith('R5 ')) return undefined;
  try {
    graph.sort();
  } catch {
    return 'nodes read each other in a circle: connect the new node to what came before it';
  }
  return 'call state.model.graph.sort() at the end of the pass';
}

/** An error with the place it was thrown at: the innermost one in the author's own file, if there is one. */
function describeThrown(error: unknown): string {
  if (!(error instanceof Error)) return `it threw ${String(error)}`;
  const ours = error.message.startsWith(INTERNAL);
  const message = ours ? error.message.slice(INTERNAL.length) : `it threw ${error.message}`;
  const kind = error.name === 'Error' ? '' : ` (${error.name})`;
  const frames = (error.stack ?? '').split('\n').filter((line) => /^\s+at /.test(line));
  const own = frames.find(
    (line) => line.includes('file://') && !HERE.some((folder) => line.includes(folder)),
  );
  const place = /(?:file:\/\/)?([^\s()]+:\d+:\d+)\)?$/.exec(own ?? frames[0] ?? '')?.[1];
  return `${message}${kind}${place === undefined ? '' : `, at ${place}`}`;
}

/** How `invariant` begins: the graph refused what the pass did to it. */
const INTERNAL = 'internal error: ';
/** Where this package's own code lies: frames there are not the author's. */
const HERE = ['src', 'passes', 'runtime'].map(
  (folder) => new URL(`../../${folder}/`, import.meta.url).href,
);
