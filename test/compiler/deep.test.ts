// A deep step tells ONNX Runtime's planner nothing that would make it compare every tensor with every free one.

import { expect, test } from 'vitest';
import { preResNet } from '../../fixtures/models.js';
import { compile } from '../../src/compiler/index.js';
import type { Node } from '../../src/ir/index.js';

const step = (depth: number): { nodes: Node[]; optimization: string } => {
  const model = preResNet({ depth, width: 8, image: 32 });
  const { train, plan } = compile(model, { name: 'net', source: 'net.onnx', batch: 4 });
  return { nodes: [...train.graph.nodes], optimization: plan.memory.plan.graphOptimization };
};

/** Reshapes of a unit whose result has a rank in the file: the target's length, or a stated shape, says it. */
const withRank = (nodes: readonly Node[]): Node[] =>
  nodes.filter(({ op, domain, phase, inputs, outputs }) => {
    const [target, result] = [inputs[1], outputs[0]];
    if (op !== 'Reshape' || domain !== '' || phase === 'update' || !target) return false;
    const isHidden = target.stated !== undefined && target.stated.shape === undefined;
    return !isHidden || result?.stated?.shape !== undefined;
  });

test('views and targets hide the rank in a deep step, and only there', () => {
  const [shallow, deep] = [step(20), step(182)];
  expect([shallow.optimization, deep.optimization]).toEqual(['all', 'none']);
  const units = (nodes: readonly Node[]): Set<string> =>
    new Set(withRank(nodes).map(({ unit }) => unit ?? ''));
  // The unit behind which there is no token, and the loss, have no views to hide anything from.
  expect([...units(deep.nodes)].filter((unit) => unit.startsWith('stage'))).toEqual([]);
  expect([...units(shallow.nodes)].filter((unit) => unit.startsWith('stage'))).not.toEqual([]);
});
