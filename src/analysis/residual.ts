// Finds residual blocks. In: a typed graph in topological order. Out: every Add (or two-operand Sum) that joins
// a shortcut and a branch which start at one value. Invariant: a block's branch is entered through its input
// only and left through its Add only, shapes aside.

import { sameShape } from '../ir/index.js';
import type { Graph, Node, Shape, Value } from '../ir/index.js';
import { Dominance } from './dominance.js';
import { regionBetween } from './region.js';

type BlockKind = 'identity' | 'projection';

export interface ResidualBlock {
  /** Readable and unique: "layer2.1", from the names of the exporter where there are any. */
  readonly id: string;
  readonly kind: BlockKind;
  /** The Add. */
  readonly add: Node;
  /** The value both operands come from. */
  readonly input: Value;
  /** Result of the Add. */
  readonly output: Value;
  /** Which operand of the Add is the shortcut. For projections: the one with less computation. */
  readonly shortcutIndex: number;
  /** Nodes of the residual branch, in topological order. */
  readonly branch: readonly Node[];
  /** Nodes of the shortcut; empty for identity. */
  readonly shortcut: readonly Node[];
  readonly shape: Shape | undefined;
  /** Whether shape inference proves that both operands have one shape (no broadcasting). */
  readonly shapesProved: boolean;
  /** A block whose branch holds other residual blocks. */
  readonly nested: boolean;
}

/** A branch must learn something: it reads a weight of rank 2 or more. */
const learns = (nodes: readonly Node[]): boolean =>
  nodes.some((node) =>
    node.inputs.some(
      (v) =>
        v?.constant !== undefined && v.constant.dims.length >= 2 && v.constant.dtype !== 'int64',
    ),
  );

/** Nodes and values that the region leaks to: undefined when it is left only through the Add. */
function isTapped(region: readonly Node[], add: Node, graph: Graph, dominance: Dominance): boolean {
  const inside = new Set(region);
  for (const node of region)
    for (const value of node.outputs) {
      if (!value || !dominance.isData(value)) continue;
      if (graph.outputs.includes(value)) return true;
      if (dominance.dataUsers(value).some((user) => user !== add && !inside.has(user))) return true;
    }
  return false;
}

const couldDiffer = (a: Shape | undefined, b: Shape | undefined): boolean =>
  !!a &&
  !!b &&
  (a.length !== b.length ||
    a.some((d, i) => typeof d === 'number' && typeof b[i] === 'number' && d !== b[i]));

interface Candidate {
  readonly kind: BlockKind;
  readonly add: Node;
  readonly input: Value;
  readonly shortcutIndex: number;
  readonly branch: readonly Node[];
  readonly shortcut: readonly Node[];
}

function examine(add: Node, graph: Graph, dominance: Dominance): Candidate | undefined {
  const [p, q] = add.inputs;
  if (!p || !q || add.inputs.length !== 2 || p === q) return undefined;
  if (!dominance.isData(p) || !dominance.isData(q) || couldDiffer(p.shape, q.shape))
    return undefined;
  const input = dominance.common(p, q);
  if (!input) return undefined;
  const stops = new Set([input]);
  if (input === p || input === q) {
    const shortcutIndex = input === p ? 0 : 1;
    const branch = regionBetween([input === p ? q : p], stops);
    if (!learns(branch) || isTapped(branch, add, graph, dominance)) return undefined;
    return { kind: 'identity', add, input, shortcutIndex, branch, shortcut: [] };
  }
  const [left, right] = [regionBetween([p], stops), regionBetween([q], stops)];
  const inLeft = new Set(left);
  const shared = right.filter((node) => inLeft.has(node));
  // Weights' own preparation (a Transpose of a constant) may be shared; data may not.
  if (shared.some((node) => node.outputs.some((v) => v && dominance.isData(v)))) return undefined;
  if (!learns(left) && !learns(right)) return undefined;
  if (isTapped(left, add, graph, dominance) || isTapped(right, add, graph, dominance))
    return undefined;
  const shortcutIndex = left.length <= right.length ? 0 : 1;
  return {
    kind: 'projection',
    add,
    input,
    shortcutIndex,
    branch: shortcutIndex === 0 ? right : left,
    shortcut: shortcutIndex === 0 ? left : right,
  };
}

/** "/layer1/layer1.0/Add_1" → "layer1.0"; anything less telling → the Add's own name. */
function label(add: Node, position: number): string {
  const parts = add.name.split('/').filter((part) => part !== '');
  const scope = parts.at(-2);
  if (scope !== undefined) return scope;
  const own = parts[0] ?? '';
  return own.replace(/[.:_]?(Add|Sum|add|sum)(_\d+)?(:.*)?$/, '') || `block${position}`;
}

/** All residual blocks in topological order. */
export function findResidualBlocks(graph: Graph): ResidualBlock[] {
  const dominance = new Dominance(graph);
  const candidates: Candidate[] = [];
  for (const node of graph.nodes)
    if (node.domain === '' && (node.op === 'Add' || node.op === 'Sum')) {
      const candidate = examine(node, graph, dominance);
      if (candidate) candidates.push(candidate);
    }
  const adds = new Set(candidates.map((c) => c.add));
  const taken = new Map<string, number>();
  return candidates.map((candidate, position) => {
    const base = label(candidate.add, position);
    const count = taken.get(base) ?? 0;
    taken.set(base, count + 1);
    const [p, q] = [candidate.add.input(0), candidate.add.input(1)];
    return {
      ...candidate,
      id: count === 0 ? base : `${base}#${count}`,
      output: candidate.add.output(),
      shape: candidate.add.output().shape ?? p.shape ?? q.shape,
      shapesProved: sameShape(p.shape, q.shape),
      nested: [...candidate.branch, ...candidate.shortcut].some((node) => adds.has(node)),
    };
  });
}
