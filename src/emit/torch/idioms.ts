// What exports spell out and PyTorch has a name for: GELU, SiLU, a product with a bias. In: the network to be written.
// Out: the last node of each becomes one operator of domain `torch`. Invariant: its result stays the same value, so
// that chains and units that name it stay true.

import { Attributes } from '../../ir/index.js';
import type { Graph, Node, Value } from '../../ir/index.js';

const TORCH = 'torch';

const producer = (value: Value | undefined, op: string): Node | undefined => {
  const node = value?.producer;
  return node?.op === op && node.domain === '' ? node : undefined;
};

const isNumber = (value: Value | undefined, wanted: number): boolean => {
  const data = value?.constant;
  if (!data || data.dims.some((d) => d !== 1)) return false;
  return Math.abs((data.load().data[0] ?? NaN) - wanted) <= 1e-6 * Math.abs(wanted);
};

const readOnce = (graph: Graph, value: Value): boolean =>
  value.uses.length === 1 && !graph.outputs.includes(value);

/** Both ways round. */
const operands = (node: Node): (readonly [Value | undefined, Value | undefined])[] => {
  const [a, b] = node.inputs;
  return [
    [a, b],
    [b, a],
  ];
};

/** 1 + erf(x / √2): x; undefined for anything else. */
function bellOperand(value: Value | undefined): Value | undefined {
  const add = producer(value, 'Add');
  if (!add) return undefined;
  for (const [erf, one] of operands(add)) {
    const inner = producer(erf, 'Erf')?.inputs[0];
    if (!inner || !isNumber(one, 1)) continue;
    const divided = producer(inner, 'Div');
    if (divided && isNumber(divided.inputs[1], Math.SQRT2)) return divided.inputs[0];
    const scaled = producer(inner, 'Mul');
    for (const [x, root] of scaled ? operands(scaled) : [])
      if (isNumber(root, Math.SQRT1_2)) return x;
  }
  return undefined;
}

/** x · (1 + erf(x/√2)), in either order: x. */
function bellProduct(value: Value | undefined): Value | undefined {
  const mul = producer(value, 'Mul');
  for (const [x, bell] of mul ? operands(mul) : []) if (x && bellOperand(bell) === x) return x;
  return undefined;
}

/** ½ · x · (1 + erf(x/√2)), multiplied in any order: x. */
function geluOperand(node: Node): Value | undefined {
  for (const [a, b] of operands(node)) {
    if (isNumber(b, 0.5)) {
      const x = bellProduct(a);
      if (x) return x;
    }
    const half = producer(a, 'Mul');
    for (const [x, factor] of half ? operands(half) : [])
      if (x && isNumber(factor, 0.5) && bellOperand(b) === x) return x;
    const scaled = producer(b, 'Mul');
    for (const [bell, factor] of scaled ? operands(scaled) : [])
      if (a && isNumber(factor, 0.5) && bellOperand(bell) === a) return a;
  }
  return undefined;
}

/** x · sigmoid(x): x. */
function siluOperand(node: Node): Value | undefined {
  for (const [x, gate] of operands(node))
    if (x && producer(gate, 'Sigmoid')?.inputs[0] === x) return x;
  return undefined;
}

/** x·W + b with a matrix W and a vector b that are trained and read nowhere else. */
function linearOperands(
  graph: Graph,
  node: Node,
  isTrained: (value: Value) => boolean,
): Value[] | undefined {
  const isOwn = (value: Value, rank: number): boolean =>
    value.constant?.dims.length === rank && isTrained(value) && value.uses.length === 1;
  for (const [product, bias] of operands(node)) {
    const matMul = producer(product, 'MatMul');
    const [x, weight] = matMul?.inputs ?? [];
    if (!product || !x || !weight || !bias || x.constant || !readOnce(graph, product)) continue;
    if (!isOwn(weight, 2) || !isOwn(bias, 1)) continue;
    if ((x.shape?.length ?? 0) >= 2 && bias.constant?.dims[0] === weight.constant?.dims[1])
      return [x, weight, bias];
  }
  return undefined;
}

function become(node: Node, op: string, inputs: readonly Value[]): void {
  node.op = op;
  node.domain = TORCH;
  node.attributes = new Attributes({});
  node.truncateInputs(0);
  for (const value of inputs) node.addInput(value);
}

/** @param isTrained whether a constant is a weight */
export function findIdioms(graph: Graph, isTrained: (value: Value) => boolean): void {
  for (const node of graph.nodes) {
    if (node.domain !== '') continue;
    if (node.op === 'Mul') {
      const gelu = geluOperand(node);
      const silu = gelu ? undefined : siluOperand(node);
      if (gelu) become(node, 'Gelu', [gelu]);
      else if (silu) become(node, 'Silu', [silu]);
    } else if (node.op === 'Add') {
      const linear = linearOperands(graph, node, isTrained);
      if (linear) become(node, 'Linear', linear);
    }
  }
  graph.removeDead();
  graph.sort();
}
