// Does a pattern fit at a node? In: a pattern and a node. Out: what its variables stand for, or the node and the
// reason why not. Invariant: the graph is not changed; the operands of commutative operators fit in either order.

import type { Attribute, Graph, Node, Value } from '../ir/index.js';
import { NodePattern, Variable } from './pattern.js';
import type { AttributePattern, OperandPattern } from './pattern.js';

/** What a pattern stands for at one place. */
export interface Match {
  readonly matched: true;
  readonly root: Node;
  /** By variable. */
  readonly values: ReadonlyMap<string, Value>;
  /** By pattern: the root first. */
  readonly nodes: ReadonlyMap<NodePattern, Node>;
}

/** Why a pattern does not fit. */
export interface Mismatch {
  readonly matched: false;
  /** The node the pattern was tried at. */
  readonly root: Node;
  /** The node the reason is about. */
  readonly node: Node;
  /** In words that do not name nodes, so that equal reasons can be counted. */
  readonly reason: string;
}

const COMMUTATIVE: ReadonlySet<string> = new Set([
  'Add', 'Mul', 'And', 'Or', 'Xor', 'Equal', 'Max', 'Min', 'Sum', 'Mean',
]); // prettier-ignore

/** Larger constants are not read to compare them with a number. */
const SMALL = 4096;

interface Bindings {
  readonly values: ReadonlyMap<string, Value>;
  readonly nodes: ReadonlyMap<NodePattern, Node>;
}

interface Failure {
  readonly node: Node;
  readonly reason: string;
  /** How much had fitted: of several ways to fail the furthest one is told. */
  readonly depth: number;
}

type Result = Bindings | Failure;
const failed = (result: Result): result is Failure => 'reason' in result;

/** Tries a pattern at a node whose operator is that of the pattern's root. */
export function matchAt(pattern: NodePattern, root: Node, graph: Graph): Match | Mismatch {
  const result = matchNode(pattern, root, { values: new Map(), nodes: new Map() });
  if (failed(result)) return { matched: false, root, node: result.node, reason: result.reason };
  const leak = findLeak(result, root, graph);
  if (leak) return { matched: false, root, ...leak };
  return { matched: true, root, ...result };
}

/** What lies inside a match is replaced with it, so nothing outside may read it. */
function findLeak(
  { nodes }: Bindings,
  root: Node,
  graph: Graph,
): { node: Node; reason: string } | undefined {
  const inside = new Set(nodes.values());
  for (const node of inside)
    for (const value of node.outputs) {
      if (!value || node === root) continue;
      if (graph.outputs.includes(value))
        return { node, reason: `the result of ${node.op} inside the match is a graph output` };
      const reader = value.users.find((user) => !inside.has(user));
      if (reader)
        return {
          node,
          reason: `the result of ${node.op} inside the match is also read by a ${reader.op} outside`,
        };
    }
  return undefined;
}

function matchNode(pattern: NodePattern, node: Node, bound: Bindings): Result {
  const fail = (reason: string): Failure => ({ node, reason, depth: bound.nodes.size });
  const known = bound.nodes.get(pattern.node);
  if (known) return known === node ? bound : fail(`two results are not of the same ${node.op}`);
  if (node.op !== pattern.op || node.domain !== pattern.domain)
    return fail(`${nameOf(node)} stands where the pattern has ${nameOf(pattern)}`);
  for (const [name, wanted] of Object.entries(pattern.attributes)) {
    const attribute = node.attributes.get(name);
    if (!attributeFits(attribute, wanted))
      return fail(`attribute ${name} of ${node.op} is ${shown(attribute)}`);
  }
  const given = node.inputs.findLastIndex((v) => v !== undefined) + 1;
  if (given > pattern.operands.length)
    return fail(`${node.op} has ${given} operands, the pattern ${pattern.operands.length}`);
  const here: Bindings = {
    values: bound.values,
    nodes: new Map([...bound.nodes, [pattern.node, node]]),
  };
  const [a, b] = [node.inputs[0], node.inputs[1]];
  const straight = matchOperands(pattern, node, node.inputs, here);
  const swappable = COMMUTATIVE.has(node.op) && node.domain === '' && given === 2;
  if (!failed(straight) || !swappable) return straight;
  const swapped = matchOperands(pattern, node, [b, a], here);
  return failed(swapped) && swapped.depth <= straight.depth ? straight : swapped;
}

function matchOperands(
  pattern: NodePattern,
  node: Node,
  operands: readonly (Value | undefined)[],
  bound: Bindings,
): Result {
  let result = bound;
  for (const [index, wanted] of pattern.operands.entries()) {
    const next = matchOperand(wanted, operands[index], node, index, result);
    if (failed(next)) return next;
    result = next;
  }
  return result;
}

function matchOperand(
  pattern: OperandPattern,
  value: Value | undefined,
  reader: Node,
  index: number,
  bound: Bindings,
): Result {
  const where = `operand ${index} of ${reader.op}`;
  const fail = (reason: string): Failure => ({ node: reader, reason, depth: bound.nodes.size });
  if (pattern === undefined) return value ? fail(`${where} is given`) : bound;
  if (!value) return fail(`${where} is left out`);
  if (pattern instanceof Variable) {
    const known = bound.values.get(pattern.name);
    if (known === value) return bound;
    if (known) return fail(`${pattern.name} would stand for two values`);
    return { ...bound, values: new Map([...bound.values, [pattern.name, value]]) };
  }
  if (typeof pattern === 'number')
    return isEvery(value, pattern) ? bound : fail(`${where} is not the constant ${pattern}`);
  const { producer } = value;
  if (!producer) {
    const what = value.constant ? 'a constant' : 'an input of the graph';
    return fail(`${where} is ${what}, not ${nameOf(pattern)}`);
  }
  if (value.outputIndex !== pattern.result && producer.op === pattern.op)
    return fail(`${where} is result ${value.outputIndex} of ${nameOf(pattern)}`);
  return matchNode(pattern, producer, bound);
}

function isEvery({ constant }: Value, wanted: number): boolean {
  if (!constant) return false;
  const size = constant.dims.reduce((n, d) => n * d, 1);
  if (size === 0 || size > SMALL) return false;
  const rounded = constant.dtype === 'float32' ? Math.fround : (x: number): number => x;
  return constant.load().data.every((element) => rounded(element) === rounded(wanted));
}

const nameOf = ({ domain, op }: { domain: string; op: string }): string =>
  domain === '' ? op : `${domain}.${op}`;

type Plain = number | string | readonly (number | string)[];

/** The value of an attribute as plain data; undefined for tensors and graphs, which patterns do not compare. */
function plain(attribute: Attribute | undefined): Plain | undefined {
  switch (attribute?.kind) {
    case 'int':
    case 'float':
    case 'string':
    case 'ints':
    case 'floats':
    case 'strings':
      return attribute.value;
    default:
      return undefined;
  }
}

function attributeFits(attribute: Attribute | undefined, wanted: AttributePattern): boolean {
  const value = plain(attribute);
  if (typeof wanted === 'function') return wanted(value);
  if (value === undefined) return false;
  // Floats are stored in single precision.
  const same = (a: number | string, b: number | string | undefined): boolean =>
    a === b ||
    (typeof a === 'number' && typeof b === 'number' && Math.fround(a) === Math.fround(b));
  if (typeof value !== 'object') return typeof wanted !== 'object' && same(value, wanted);
  return (
    typeof wanted === 'object' &&
    value.length === wanted.length &&
    value.every((v, i) => same(v, wanted[i]))
  );
}

function shown(attribute: Attribute | undefined): string {
  if (!attribute) return 'not given';
  const value = plain(attribute);
  return value === undefined ? `a ${attribute.kind}` : JSON.stringify(value);
}
