// Rewrites: passes made of a pattern and what takes its place. In: match, check, replace. Out: a pass that applies
// them until nothing matches. Invariant: the graph stays sorted and its outputs keep their names; what is not
// rewritten has a reason, as data.

import { DiagnosticError, invariant } from '../diagnostics/index.js';
import { Value, formatType } from '../ir/index.js';
import type { Graph, Node } from '../ir/index.js';
import { Builder } from '../ops/index.js';
import { compatible } from './check-types.js';
import { matchAt } from './match.js';
import type { Match, Mismatch } from './match.js';
import { definePass } from './pass.js';
import type { Outcome, Pass, PassState } from './pass.js';
import { makePattern } from './pattern.js';
import type { NodePattern, PatternFunction } from './pattern.js';

/** What check and replace are told beside the values of the variables. */
export interface Place {
  readonly graph: Graph;
  /** The node whose result is replaced. */
  readonly root: Node;
  /** The node a part of the pattern stands for: op.Conv(x, w).as('conv') is node('conv'). */
  node(label: string): Node;
}

/** Makes the nodes of a replacement; their names begin with that of the root. */
export interface Replacing extends Place {
  readonly build: Builder;
}

/** @typeParam V names of the variables, for those who want them checked: defineRewrite<'x' | 'w'>({ … }) */
export interface RewriteInit<V extends string = string> {
  readonly name: string;
  readonly summary: string;
  /** (op, { x, w }) => op.Relu(op.Conv(x, w)) */
  readonly match: PatternFunction;
  /** Whether a match is one to replace: true, or the reason why not. */
  readonly check?: (values: Readonly<Record<V, Value>>, place: Place) => boolean | string;
  /** What takes the place of the root's result; a list where the root has several that are read. */
  readonly replace: (
    values: Readonly<Record<V, Value>>,
    place: Replacing,
  ) => Value | readonly Value[];
  /** How often the graph is gone through at most before the rewrite is taken to be endless. Default 100. */
  readonly rounds?: number;
}

/** A rewrite is a pass, and can be asked without changing anything. */
export interface Rewrite extends Pass {
  /** Every node with the operator of the pattern's root: the match there, or the reason why there is none. */
  attempts(graph: Graph): (Match | Mismatch)[];
}

const ROUNDS = 100;

/**
 * Declares a rewrite: wherever `match` fits and `check` agrees, `replace` gives what stands there instead.
 * @throws DiagnosticError pass/invalid
 */
export function defineRewrite<V extends string = string>(init: RewriteInit<V>): Rewrite {
  checkFunctions(init);
  const { name, summary } = init;
  const pattern = makePattern(name, init.match);
  const rewriter = new Rewriter(init, pattern);
  const pass = definePass<PassState>({
    name,
    summary,
    run: ({ model: { graph } }) => rewriter.run(graph),
  });
  return Object.assign(pass, {
    attempts: (graph: Graph) =>
      [...graph.nodes].flatMap((node) => rewriter.attempt(graph, node) ?? []),
  });
}

function checkFunctions(init: unknown): void {
  const { name, match, check, replace } = (init ?? {}) as Readonly<Record<string, unknown>>;
  const where = `rewrite ${typeof name === 'string' ? name : ''}`;
  const parts = { match, replace, ...(check === undefined ? {} : { check }) };
  for (const [key, value] of Object.entries(parts))
    if (typeof value !== 'function')
      throw new DiagnosticError(
        'pass/invalid',
        where,
        `its ${key} is ${value === undefined ? 'missing' : `a ${typeof value}`}, not a function`,
      );
}

class Rewriter<V extends string> {
  constructor(
    private readonly init: RewriteInit<V>,
    private readonly pattern: NodePattern,
  ) {}

  run(graph: Graph): Outcome {
    const rounds = this.init.rounds ?? ROUNDS;
    let changes = 0;
    for (let round = 0; ; round++) {
      const { replaced, last, reasons } = this.round(graph);
      changes += replaced;
      if (replaced === 0) return { changes, reasons };
      graph.removeDead();
      graph.sort();
      invariant(
        round + 1 < rounds,
        `it still matches after ${rounds} rounds, last at node ${last}: what it puts in matches its own pattern`,
      );
    }
  }

  /** Goes once through the nodes there are; those made on the way wait for the next round. */
  private round(graph: Graph): { replaced: number; last: string; reasons: Map<string, number> } {
    const reasons = new Map<string, number>();
    let [replaced, last] = [0, ''];
    for (const node of [...graph.nodes]) {
      if (!graph.has(node)) continue;
      const found = this.attempt(graph, node);
      if (found?.matched === true) {
        this.replace(graph, found);
        replaced++;
        last = node.name;
      } else if (found) reasons.set(found.reason, (reasons.get(found.reason) ?? 0) + 1);
    }
    return { replaced, last, reasons };
  }

  /** undefined = another operator: no candidate at all. */
  attempt(graph: Graph, node: Node): Match | Mismatch | undefined {
    if (node.op !== this.pattern.op || node.domain !== this.pattern.domain) return undefined;
    const found = matchAt(this.pattern, node, graph);
    if (!found.matched) return found;
    const mismatch = (reason: string): Mismatch => ({ matched: false, root: node, node, reason });
    if (node.outputs.some((v) => v?.uses.some((use) => use.index < 0)))
      return mismatch(`the result of ${node.op} is read by a subgraph`);
    const { check } = this.init;
    const verdict = within(
      'check',
      node,
      () => check?.(valuesOf(found), placeOf(graph, found)) ?? true,
    );
    if (verdict === true) return found;
    return mismatch(typeof verdict === 'string' ? verdict : 'check refused it');
  }

  private replace(graph: Graph, match: Match): void {
    const { root } = match;
    const build = new Builder(graph, {
      phase: root.phase,
      path: root.name,
      origin: root.origin ?? root.name,
      ...(root.unit === undefined ? {} : { unit: root.unit }),
    });
    const made: unknown = within('replace', root, () =>
      this.init.replace(valuesOf(match), { ...placeOf(graph, match), build }),
    );
    const results: readonly unknown[] = Array.isArray(made) ? made : [made];
    const where = `at node ${root.name} (${root.op})`;
    root.outputs.forEach((from, index) => {
      if (!from || !(from.isUsed || graph.outputs.includes(from))) return;
      const to = results[index];
      invariant(
        to instanceof Value,
        `replace ${where} gives no value for result ${index} (${from.name}), which is read; is a return missing?`,
      );
      invariant(
        !from.type || !to.type || compatible(from.type, to.type),
        `replace ${where} gives ${to.name}: ${formatType(to.type)} for ${from.name}: ${formatType(from.type)}`,
      );
      takePlace(graph, from, to, build);
    });
    // The root first, then what only it read.
    for (const node of match.nodes.values()) if (isDead(graph, node)) graph.removeNode(node);
  }
}

/** Runs a function of the author; what it throws tells the node as well. */
function within<T>(what: string, { name, op }: Node, body: () => T): T {
  try {
    return body();
  } catch (error) {
    if (error instanceof Error && !(error instanceof DiagnosticError))
      error.message = `${error.message} (in ${what}, at node ${name}, ${op})`;
    throw error;
  }
}

const isDead = (graph: Graph, node: Node): boolean =>
  graph.has(node) && node.outputs.every((v) => !v || (!v.isUsed && !graph.outputs.includes(v)));

/** A graph output keeps its name; what already has a name of its own out there stands behind an Identity. */
function takePlace(graph: Graph, from: Value, to: Value, build: Builder): void {
  const isPublic =
    to.constant !== undefined || graph.inputs.includes(to) || graph.outputs.includes(to);
  graph.replaceValue(
    from,
    graph.outputs.includes(from) && isPublic ? build.op('Identity', [to]) : to,
  );
}

const valuesOf = <V extends string>({ values }: Match): Readonly<Record<V, Value>> =>
  Object.fromEntries(values) as Record<V, Value>;

const placeOf = (graph: Graph, { root, nodes }: Match): Place => ({
  graph,
  root,
  node: (label) => {
    for (const [pattern, node] of nodes) if (pattern.label === label) return node;
    const labels = [...nodes.keys()].flatMap((p) => p.label ?? []);
    throw new Error(
      `no part of the pattern is called ${label}; there are: ${labels.join(', ') || 'none'}`,
    );
  },
});
