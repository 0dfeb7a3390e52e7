// Pass free-batch: an export with a fixed batch size accepts any. In: a graph whose first input dimension is a
// number. Out: the symbol N there, and no constant that spells the old batch size, as a Reshape target or as an
// operand that is joined to samples. Invariant: the graph still computes the same for the batch size it was exported with.

import { batchAxis, extentAt, inferTypes } from '../src/analysis/index.js';
import { Attributes, InlineData, Tensor, elementCount, int, isFloat } from '../src/ir/index.js';
import type { ConstantData, Graph, Node, Value } from '../src/ir/index.js';
import { inferNode } from '../src/ops/index.js';
import type { Contents } from '../src/ops/index.js';
import { tryInfer } from '../src/rewrite/upgrades/index.js';
import { definePass } from './state.js';

const BATCH = 'N';

/** The inputs that carry a batch: those that are not weights and have at least one dimension. */
export const dataInputs = (graph: Graph): Value[] => graph.inputs.filter((v) => !v.constant);

/** An Expand of what has the batch already need not ask for it. */
function freeExpands(graph: Graph, batch: number): void {
  for (const node of [...graph.nodes]) {
    if (node.domain !== '' || node.op !== 'Expand') continue;
    const [data, shape] = node.inputs;
    const target = shape?.constant?.load().toArray();
    if (!shape || target?.[0] !== batch || target.length < 2 || data?.shape?.[0] !== batch)
      continue;
    const freed = new InlineData(Tensor.ints([1, ...target.slice(1)]));
    node.setInput(1, graph.addConstant(`${shape.name}.free`, freed));
  }
}

/** A Reshape target that spells the batch size, or a multiple of it, anywhere: that axis becomes the rest. */
function freeTarget(graph: Graph, node: Node, batch: number): void {
  const [data, shape] = node.inputs;
  const from = data?.shape;
  const target = shape?.constant?.load().toArray();
  if (node.domain !== '' || node.op !== 'Reshape' || !from || !target) return;
  if (node.attributes.int('allowzero', 0) !== 0) return;
  const extents = from.map((dim) => extentAt(dim, BATCH, batch));
  const all = extents.reduce<number>((n, d) => n * (d ?? NaN), 1);
  const kept = target.map((d, axis) => (d === 0 ? (extents[axis] ?? NaN) : d));
  const known = kept.filter((d) => d !== -1).reduce((n, d) => n * d, 1);
  const spelled = kept.map((d) => (d === -1 ? all / known : d));
  const axis = batchAxis(from, spelled, BATCH, batch);
  if (axis === undefined || (target[axis] ?? 0) <= 0) return;
  const same = from[axis] === BATCH && spelled[axis] === batch;
  // A −1 elsewhere may stay only where the batch is copied.
  const rest = same ? target : spelled;
  const free = rest.map((d, i) => (i === axis ? (same ? 0 : -1) : d));
  node.setInput(
    1,
    graph.addConstant(`${shape?.name ?? ''}.free`, new InlineData(Tensor.ints(free))),
  );
}

/** Whether every element is 0, as of the channels that a shortcut is padded with. */
const isZero = ({ constant }: Value): boolean =>
  isFloat(constant?.dtype ?? 'int64') && (constant?.load().data.every((x) => x === 0) ?? false);

/** Adds a node before another one, typed. */
function before(
  graph: Graph,
  op: string,
  inputs: readonly Value[],
  name: string,
  contents: Contents,
): Value {
  const node = graph.addNode({ op, inputs, outputs: [name] });
  inferNode(node, contents);
  return node.output();
}

/**
 * A constant that is joined to a value with a batch (a class token, zero channels) was written for the old batch size:
 * zeros become a Pad, what is the same for every sample is repeated for as many as there are.
 */
function freeConcat(graph: Graph, node: Node, batch: number, contents: Contents): void {
  const open = node.inputs.find((v) => v?.shape?.[0] === BATCH);
  if (node.domain !== '' || node.op !== 'Concat' || !open?.shape) return;
  const rank = open.shape.length;
  const axis = (node.attributes.int('axis', 0) + rank) % rank;
  if (axis === 0) return;
  const ints = (values: readonly number[], what: string): Value =>
    graph.addConstant(`${node.name}.${what}`, new InlineData(Tensor.ints(values)));
  const fixed = (v: Value | undefined): v is Value => v?.constant?.dims[0] === batch;
  const [first, second] = node.inputs;
  if (node.inputs.length === 2 && first && second) {
    const zeros = [first, second].find((v) => fixed(v) && isZero(v));
    if (zeros) {
      const pads = Array.from({ length: 2 * rank }, () => 0);
      pads[axis + (zeros === second ? rank : 0)] = zeros.constant?.dims[axis] ?? 0;
      node.op = 'Pad';
      node.attributes = new Attributes({});
      node.setInput(0, open);
      node.setInput(1, ints(pads, 'pads'));
      return;
    }
  }
  node.inputs.forEach((value, index) => {
    if (!fixed(value) || !value.constant) return;
    const sample = firstSample(value.constant);
    if (!sample) return;
    const one = batch === 1 ? value : graph.addConstant(`${value.name}.sample`, sample);
    const name = `${node.name}.${index}`;
    const count = before(
      graph,
      'Slice',
      [
        before(graph, 'Shape', [open], `${name}.shape`, contents),
        ints([0], 'from'),
        ints([1], 'to'),
      ],
      `${name}.batch`,
      contents,
    );
    const rest = ints(sample.dims.slice(1), 'dims');
    const shape = graph.addNode({
      op: 'Concat',
      inputs: [count, rest],
      outputs: [`${name}.target`],
      attributes: { axis: int(0) },
    });
    inferNode(shape, contents);
    node.setInput(index, before(graph, 'Expand', [one, shape.output()], `${name}.all`, contents));
  });
}

/** The first sample of a constant, with its batch dimension, if the others are the same. */
function firstSample(constant: ConstantData): ConstantData | undefined {
  const [batch = 1, ...rest] = constant.dims;
  if (batch === 1) return constant;
  const { data } = constant.load();
  const size = elementCount(rest);
  return data.every((x, i) => x === data[i % size])
    ? new InlineData(new Tensor(constant.dtype, [1, ...rest], data.slice(0, size)))
    : undefined;
}

export const freeBatch = definePass({
  name: 'free-batch',
  summary: 'replace the fixed batch size of an export by a symbol',
  run: ({ model: { graph }, notes }) => {
    const [first] = dataInputs(graph);
    const batch = first?.shape?.[0];
    if (typeof batch !== 'number') return;
    freeExpands(graph, batch);
    for (const input of dataInputs(graph)) {
      const { type } = input;
      if (!type?.shape || type.shape[0] !== batch) continue;
      input.type = { dtype: type.dtype, shape: [BATCH, ...type.shape.slice(1)] };
    }
    for (const node of graph.nodes)
      for (const value of node.outputs) if (value) value.type = undefined;
    const contents: Contents = new WeakMap();
    for (const node of [...graph.nodes]) {
      freeConcat(graph, node, batch, contents);
      freeTarget(graph, node, batch);
      tryInfer(node, contents);
    }
    graph.sort();
    graph.removeDead();
    inferTypes(graph);
    notes.push(`the model was exported for batch ${batch}; its batch size is now free`);
  },
});
