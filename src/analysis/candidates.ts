// One Add under the lens. In: an Add or Sum of a typed graph. Out: what it joins, a shortcut and a branch of one value,
// or the reason why it is no residual block. Invariant: the first reason that holds is given, and it names the values
// and nodes it rests on.

import type { Graph, Node, Shape, Value } from '../ir/index.js';
import type { Dominance } from './dominance.js';
import { because, nodeName, shapesText } from './reasons.js';
import type { Reason } from './reasons.js';
import { regionBetween } from './region.js';

export type BlockKind = 'identity' | 'projection';

export interface Candidate {
  readonly kind: BlockKind;
  readonly add: Node;
  /** The value both operands come from. */
  readonly input: Value;
  /** Which operand of the Add is the shortcut. For projections: the one with less computation. */
  readonly shortcutIndex: number;
  /** Nodes of the residual branch, in topological order. */
  readonly branch: readonly Node[];
  /** Nodes of the shortcut; empty for identity. */
  readonly shortcut: readonly Node[];
}

export interface Rejection {
  readonly add: Node;
  readonly reason: Reason;
  /** Whether it is a residual connection all the same: one operand is what the other is computed from, with weights. */
  readonly residual: boolean;
  /** Inputs of the network that the branch reads besides. */
  readonly sides?: readonly Value[];
}

/** A branch must learn something: it reads a weight of rank 2 or more. */
export const learns = (nodes: readonly Node[]): boolean =>
  nodes.some((node) =>
    node.inputs.some(
      (v) =>
        v?.constant !== undefined && v.constant.dims.length >= 2 && v.constant.dtype !== 'int64',
    ),
  );

/** Where data of the region is read outside of it and of the Add; undefined: nowhere. */
export function leakOf(
  region: readonly Node[],
  add: Node,
  graph: Graph,
  dominance: Dominance,
): Reason | undefined {
  const inside = new Set(region);
  for (const node of region)
    for (const value of node.outputs) {
      if (!value || !dominance.isData(value)) continue;
      if (graph.outputs.includes(value))
        return because('exit', `${value.name}, inside the branch, is an output of the network`);
      const reader = dominance.dataUsers(value).find((user) => user !== add && !inside.has(user));
      if (reader)
        return because(
          'tapped',
          `${value.name}, inside the branch, is also read by ${nodeName(reader)} outside`,
        );
    }
  return undefined;
}

const couldDiffer = (a: Shape | undefined, b: Shape | undefined): boolean =>
  !!a &&
  !!b &&
  (a.length !== b.length ||
    a.some((d, i) => typeof d === 'number' && typeof b[i] === 'number' && d !== b[i]));

const isInteger = ({ type }: Value): boolean => /^u?int/.test(type?.dtype ?? '');

const isGraphInput = (value: Value): boolean => !value.producer && !value.constant;

/** Whether nodes of the region read the value as data. */
const reads = (region: readonly Node[], value: Value): boolean =>
  region.some((node) => node.inputs.includes(value) || node.captures.includes(value));

/** Inputs of the network that the region reads. */
const inputsRead = (region: readonly Node[]): Value[] => [
  ...new Set(
    region.flatMap((node) =>
      node.reads.filter((v): v is Value => v !== undefined && isGraphInput(v)),
    ),
  ),
];

/** A Concat that appends to what an input of the network brings along: keys or values of earlier tokens. */
const cacheOf = (region: readonly Node[]): Value | undefined =>
  region
    .filter((node) => node.op === 'Concat')
    .flatMap((node) => node.inputs)
    .find((v) => v !== undefined && isGraphInput(v));

/** Operands without a common origin: where one is computed from the other, it is a residual connection that reads
 * something else besides. */
function withoutOrigin(add: Node, p: Value, q: Value): Rejection {
  for (const [shortcut, end] of [
    [p, q],
    [q, p],
  ] as const) {
    const region = regionBetween([end], new Set([shortcut]));
    if (!reads(region, shortcut) || !learns(region)) continue;
    const past = cacheOf(region);
    if (past)
      return {
        add,
        residual: true,
        reason: because('cache', `the branch appends to ${past.name}, an input of the network`),
      };
    const others = inputsRead(region).filter((value) => value !== shortcut);
    const names = others.map(({ name }) => name);
    if (names.length > 0)
      return {
        add,
        residual: true,
        sides: others,
        reason: because(
          'side',
          `the branch also reads ${names.join(', ')}, an input of the network`,
        ),
      };
  }
  const why = `${p.name} and ${q.name} are computed from no value in common`;
  return { add, residual: false, reason: because('origins', why) };
}

/** x + f(x) + g(x) as one Sum. */
function examineSum(add: Node, data: readonly Value[], dominance: Dominance): Rejection {
  const origin = data.find((x) => data.every((v) => dominance.common(x, v) === x));
  const others = data.filter((v) => v !== origin);
  const parallel =
    origin !== undefined &&
    others.length >= 2 &&
    others.every((v) => learns(regionBetween([v], new Set([origin]))));
  const reason = parallel
    ? because(
        'parallel',
        `it sums ${origin.name} and ${others.length} branches of it: ${others.map((v) => v.name).join(', ')}`,
      )
    : because('operands', `it sums ${add.inputs.length} operands`);
  return { add, reason, residual: parallel };
}

export function examine(add: Node, graph: Graph, dominance: Dominance): Candidate | Rejection {
  const left = (reason: Reason, residual = false): Rejection => ({ add, reason, residual });
  const operands = add.inputs.filter((v): v is Value => v !== undefined);
  const data = operands.filter((v) => dominance.isData(v));
  if (data.length < 2) {
    const other = operands.find((v) => !dominance.isData(v));
    const why = other
      ? `its operand ${other.name} is a constant: a bias, or a step of a normalisation or an activation`
      : `it has ${operands.length} operand`;
    return left(because('constant', why));
  }
  if (add.inputs.length !== 2) return examineSum(add, data, dominance);
  const [p, q] = data;
  if (!p || !q || p === q)
    return left(because('twice', `both operands are ${data[0]?.name ?? 'one value'}`));
  if (isInteger(p)) return left(because('integers', `${p.name} holds whole numbers, no features`));
  const input = dominance.common(p, q);
  if (!input) return withoutOrigin(add, p, q);
  const stops = new Set([input]);
  const broadcast = couldDiffer(p.shape, q.shape)
    ? because('broadcast', `the shapes of its operands differ: ${shapesText(p, q)}`)
    : undefined;
  if (input === p || input === q) {
    const shortcutIndex = input === p ? 0 : 1;
    const branch = regionBetween([input === p ? q : p], stops);
    if (!learns(branch))
      return left(
        because('weightless', 'no weights between its operands: a step of an activation or a norm'),
      );
    const obstacle = broadcast ?? leakOf(branch, add, graph, dominance);
    if (obstacle) return left(obstacle, true);
    return { kind: 'identity', add, input, shortcutIndex, branch, shortcut: [] };
  }
  if (broadcast) return left(broadcast);
  return examineProjection(add, [p, q], input, graph, dominance);
}

function examineProjection(
  add: Node,
  [p, q]: readonly [Value, Value],
  input: Value,
  graph: Graph,
  dominance: Dominance,
): Candidate | Rejection {
  const stops = new Set([input]);
  const left = (reason: Reason): Rejection => ({ add, reason, residual: false });
  const [one, other] = [regionBetween([p], stops), regionBetween([q], stops)];
  if (!learns(one) && !learns(other))
    return left(
      because('weightless', 'neither operand is computed with weights: a step of an activation'),
    );
  const inOne = new Set(one);
  // Weights' own preparation (a Transpose of a constant) may be shared; data may not.
  const shared = other.filter(
    (node) => inOne.has(node) && node.outputs.some((v) => v && dominance.isData(v)),
  );
  const last = shared.at(-1);
  if (last) {
    const both = last.output(0).name;
    return left(
      isProduct(p) && isProduct(q)
        ? because('gated', `both operands are products with a gate computed from ${both}`)
        : because(
            'shared',
            `both operands are computed from ${both}, on the way from ${input.name}`,
          ),
    );
  }
  const leak = leakOf(one, add, graph, dominance) ?? leakOf(other, add, graph, dominance);
  if (leak) return left(leak);
  const shortcutIndex = one.length <= other.length ? 0 : 1;
  return {
    kind: 'projection',
    add,
    input,
    shortcutIndex,
    branch: shortcutIndex === 0 ? other : one,
    shortcut: shortcutIndex === 0 ? one : other,
  };
}

const isProduct = ({ producer }: Value): boolean =>
  producer?.domain === '' && producer.op === 'Mul';
