// Pass activate-dropout: what is random in training draws from the seed of the step. In: Dropout nodes in inference form,
// random sources of the model. Out: our own steps, which compute the same again in the recompute, and the seed as an
// input of the step; without a random node there is none. Invariant: a node keeps its identity, and its place is told by
// its name, so that every step built from one rev.onnx draws alike.

import { DiagnosticError } from '../src/diagnostics/index.js';
import { Attributes, float, int, ints, isStatic } from '../src/ir/index.js';
import type { Node, Value } from '../src/ir/index.js';
import {
  Builder,
  REVNETIFY,
  RANDOM_SOURCES,
  elementCode,
  inferNode,
  siteOf,
} from '../src/ops/index.js';
import { definePass } from './state.js';

const staticShape = (node: Node, value: Value): readonly number[] => {
  if (isStatic(value.shape)) return value.shape;
  throw new DiagnosticError(
    'shape/unknown',
    `node ${node.name} (${node.op})`,
    'how much it draws is not known',
  );
};

/** What a draw waits for in the schedule: what is masked, or where that is constant, what it is multiplied with. */
const after = (node: Node, operand: Value): Value | undefined => {
  if (!operand.constant) return operand;
  const product = node.output().users.find((user) => user.op === 'Mul');
  return product?.inputs.find((value) => value !== node.output());
};

function drawDropout(node: Node, seed: Value, b: Builder): void {
  const x = node.input(0);
  const keep = 1 - (node.inputs[1]?.constant?.load().data[0] ?? 0.5);
  const mask = b.op('revnetify.RandomMask', [seed, after(node, x)], {
    attributes: {
      shape: ints(staticShape(node, x)),
      site: ints(siteOf(node.output().name)),
      keep: float(keep),
    },
    name: 'mask',
  });
  become(node, 'Masked', [x, mask], new Attributes({ scale: float(keep > 0 ? 1 / keep : 0) }));
}

function drawSource(node: Node, seed: Value, b: Builder): void {
  const { attributes } = node;
  const result = node.output();
  const refuse = (why: string): never => {
    throw new DiagnosticError('op/unsupported', `node ${node.name} (${node.op})`, why);
  };
  const uniform = node.op.startsWith('RandomUniform');
  if (!uniform && node.op !== 'Bernoulli')
    refuse('the step draws uniform numbers and masks, no normal ones');
  const dtype = result.type?.dtype;
  const own = new Attributes({
    shape: ints(staticShape(node, result)),
    site: ints(siteOf(result.name)),
    low: float(uniform ? attributes.float('low', 0) : 0),
    high: float(uniform ? attributes.float('high', 1) : 1),
  });
  const where = node.inputs[0];
  const waits = where?.constant ? undefined : where;
  if (uniform) {
    if (dtype !== 'float32') refuse(`it draws ${dtype ?? 'an unknown type'}, not float32`);
    become(node, 'DrawUniform', [seed, waits], own);
    return;
  }
  const drawn = b.op('revnetify.DrawUniform', [seed, waits], { attributes: own, name: 'drawn' });
  const below = b.op('Less', [drawn, node.input(0)], { name: 'below' });
  node.domain = '';
  become(node, 'Cast', [below], new Attributes({ to: int(elementCode(dtype ?? 'float32')) }), '');
}

function become(
  node: Node,
  op: string,
  inputs: readonly (Value | undefined)[],
  attributes: Attributes,
  domain = REVNETIFY,
): void {
  node.op = op;
  node.domain = domain;
  node.attributes = attributes;
  node.source = undefined;
  node.truncateInputs(0);
  for (const value of inputs) node.addInput(value);
  inferNode(node);
}

export const activateDropout = definePass({
  name: 'activate-dropout',
  summary: 'let dropout and random sources draw from a seed that the step is given',
  run: (state) => {
    const { graph } = state.model;
    const random = [...graph.nodes].filter(
      (node) => node.domain === '' && (node.op === 'Dropout' || RANDOM_SOURCES.has(node.op)),
    );
    if (random.length === 0) return;
    const seed = graph.addInput('seed', { dtype: 'int32', shape: [2] });
    for (const node of random) {
      const b = new Builder(graph, { phase: 'forward', path: node.name || node.output().name });
      if (node.op === 'Dropout') drawDropout(node, seed, b);
      else drawSource(node, seed, b);
    }
    graph.sort();
    state.seed = seed;
  },
});
