// Finds residual blocks. In: a typed graph in topological order. Out: every Add (or two-operand Sum) that joins
// a shortcut and a branch which start at one value, and for every other Add the reason why it does not. Invariant: a
// block's branch is entered through its input only and left through its Add only, shapes aside.

import { sameShape } from '../ir/index.js';
import type { Graph, Node, Shape, Value } from '../ir/index.js';
import { examine, learns } from './candidates.js';
import type { Candidate, Rejection } from './candidates.js';
import { Dominance } from './dominance.js';
import { because } from './reasons.js';
import type { Reason } from './reasons.js';
import { regionBetween } from './region.js';

export interface ResidualBlock extends Candidate {
  /** Readable and unique: "layer2.1", from the names of the exporter where there are any. */
  readonly id: string;
  /** Result of the Add. */
  readonly output: Value;
  readonly shape: Shape | undefined;
  /** Whether shape inference proves that both operands have one shape (no broadcasting). */
  readonly shapesProved: boolean;
  /** A block whose branch holds other residual blocks. */
  readonly nested: boolean;
  /** Why it must be left as it is although it is a residual block. */
  readonly obstacle: Reason | undefined;
}

/** An Add that is no residual block. */
export interface RejectedAdd extends Rejection {
  /** Readable and unique, as those of blocks. */
  readonly id: string;
}

export type ExaminedAdd = ResidualBlock | RejectedAdd;

export const isBlock = (examined: ExaminedAdd): examined is ResidualBlock =>
  !('reason' in examined);

/** "/layer1/layer1.0/Add_1" → "layer1.0"; anything less telling → the Add's own name. */
function label(add: Node, position: number): string {
  const parts = add.name.split('/').filter((part) => part !== '');
  const scope = parts.at(-2);
  if (scope !== undefined) return scope;
  const own = parts[0] ?? '';
  return own.replace(/[.:_]?(Add|Sum|add|sum)(_\d+)?(:.*)?$/, '') || `block${position}`;
}

const isSum = (node: Node): boolean =>
  node.domain === '' && (node.op === 'Add' || node.op === 'Sum');

/** Two branches of one value, added to it one after the other, x + f(x) + g(x), or together, x + (f(x) + g(x)): the
 * Adds of such a sum with the reason. */
function parallelAdds(candidates: readonly Candidate[]): Map<Node, Reason> {
  const byOutput = new Map<Value, Candidate>();
  for (const candidate of candidates) byOutput.set(candidate.add.output(), candidate);
  const found = new Map<Node, Reason>();
  for (const { add, input, kind, shortcutIndex } of candidates) {
    const branches = kind === 'identity' ? [add.input(1 - shortcutIndex)] : [...add.inputs];
    for (const operand of branches) {
      const inner = operand && byOutput.get(operand);
      if (!inner) continue;
      const oneAfterTheOther =
        kind === 'projection' &&
        inner.input === input &&
        (inner.kind === 'identity' || found.has(inner.add));
      const together =
        kind === 'identity' &&
        inner.kind === 'projection' &&
        learns(inner.branch) &&
        learns(inner.shortcut) &&
        !learns(regionBetween([inner.input], new Set([input])));
      if (!oneAfterTheOther && !together) continue;
      const why = `${add.name} and ${inner.add.name} sum ${input.name} and parallel branches of it`;
      for (const each of [inner.add, add])
        if (!found.has(each)) found.set(each, because('parallel', why));
    }
  }
  return found;
}

/**
 * A branch that reads another input of the network besides (an attention mask): what comes of that input alone is a side
 * input of the block, kept for the backward pass like a weight, and the Add is looked at again without it.
 */
function examineBeside(
  add: Node,
  result: Candidate | Rejection,
  graph: Graph,
  dominances: Map<string, Dominance>,
): Candidate | Rejection {
  if (!('reason' in result) || !result.sides) return result;
  const key = result.sides.map(({ name }) => name).join();
  const beside = dominances.get(key) ?? new Dominance(graph, new Set(result.sides));
  dominances.set(key, beside);
  const again = examine(add, graph, beside);
  return 'reason' in again && !again.residual ? result : again;
}

/** Every Add and Sum of data, in topological order. @param except Adds that are known to be something else */
export function examineAdds(graph: Graph, except: ReadonlySet<Node> = new Set()): ExaminedAdd[] {
  const dominance = new Dominance(graph);
  const dominances = new Map<string, Dominance>();
  const results: (Candidate | Rejection)[] = [];
  for (const node of graph.nodes)
    if (isSum(node) && !except.has(node) && dominance.isData(node.output()))
      results.push(examineBeside(node, examine(node, graph, dominance), graph, dominances));
  const candidates = results.filter((result): result is Candidate => !('reason' in result));
  const adds = new Set(candidates.map((c) => c.add));
  const parallel = parallelAdds(candidates);
  // Blocks first: what is no block shall not change their names.
  const ids = labelsOf([
    ...except,
    ...adds,
    ...results.map((r) => r.add).filter((add) => !adds.has(add)),
  ]);
  const idOf = (add: Node): string => ids.get(add) ?? add.name;
  return results.map((result): ExaminedAdd => {
    const { add } = result;
    if ('reason' in result) return { ...result, id: idOf(add) };
    const [p, q] = [add.input(0), add.input(1)];
    return {
      ...result,
      id: idOf(add),
      output: add.output(),
      shape: add.output().shape ?? p.shape ?? q.shape,
      shapesProved: sameShape(p.shape, q.shape),
      nested: [...result.branch, ...result.shortcut].some((n) => adds.has(n) || except.has(n)),
      obstacle: parallel.get(add),
    };
  });
}

/** Names of Adds: readable, unique among them. */
export function labelsOf(adds: readonly Node[]): Map<Node, string> {
  const taken = new Map<string, number>();
  return new Map(
    adds.map((add, position) => {
      const base = label(add, position);
      const count = taken.get(base) ?? 0;
      taken.set(base, count + 1);
      return [add, count === 0 ? base : `${base}#${count}`];
    }),
  );
}

/** All residual blocks in topological order. @param except as examineAdds takes it */
export const findResidualBlocks = (graph: Graph, except?: ReadonlySet<Node>): ResidualBlock[] =>
  examineAdds(graph, except).filter(isBlock);
