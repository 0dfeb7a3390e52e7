// Pass find-layer-norm: layer normalization as exports before opset 17 spell it → one operator. In: ReduceMean, Sub, Pow,
// ReduceMean, Add, Sqrt, Div, Mul, Add over the last axis. Out: LayerNormalization, which keeps its operand alone for the
// gradient. Invariant: scale and bias stay the constants they were, and the result stays the same value.

import { Attributes, float, int } from '../src/ir/index.js';
import type { Value } from '../src/ir/index.js';
import { makePattern, matchAt } from '../src/rewrite/index.js';
import type { Match } from '../src/rewrite/index.js';
import { definePass } from './state.js';

const kept = (keepdims: unknown): boolean => keepdims === undefined || keepdims === 1;

const pattern = makePattern('find-layer-norm', (op, { x, scale, bias, epsilon }) => {
  const mean = op.ReduceMean(x, { keepdims: kept }).as('mean');
  const centred = op.Sub(x, mean);
  const variance = op.ReduceMean(op.Pow(centred, 2), { keepdims: kept }).as('variance');
  const normal = op.Div(centred, op.Sqrt(op.Add(variance, epsilon)));
  return op.Add(op.Mul(normal, scale), bias);
});

interface LayerNorm {
  readonly operands: readonly [x: Value, scale: Value, bias: Value];
  readonly epsilon: number;
}

/** What the match stands for, if both means are over the last axis and scale and bias are rows of it. */
function layerNormOf({ nodes, values }: Match): LayerNorm | undefined {
  const [x, scale, bias, epsilon] = ['x', 'scale', 'bias', 'epsilon'].map((n) => values.get(n));
  const small = epsilon?.constant?.load();
  if (!x?.shape || !scale || !bias || small?.size !== 1) return undefined;
  const last = x.shape.length - 1;
  const overLast = ['mean', 'variance'].every((label) => {
    const node = [...nodes].find(([part]) => part.label === label)?.[1];
    const axes = node?.attributes.ints('axes');
    return axes?.length === 1 && (axes[0] === -1 || axes[0] === last);
  });
  const rows = [scale, bias].every((v) => v.shape?.length === 1 && v.shape[0] === x.shape?.[last]);
  return overLast && rows ? { operands: [x, scale, bias], epsilon: small.data[0] ?? 0 } : undefined;
}

export const findLayerNorm = definePass({
  name: 'find-layer-norm',
  summary: 'make one operator of layer normalization that an export spelled out',
  run: ({ model: { graph } }) => {
    for (const node of [...graph.nodes]) {
      if (node.op !== pattern.op || node.domain !== pattern.domain) continue;
      const match = matchAt(pattern, node, graph);
      const found = match.matched ? layerNormOf(match) : undefined;
      if (!found) continue;
      node.truncateInputs(0);
      for (const value of found.operands) node.addInput(value);
      node.op = 'LayerNormalization';
      node.attributes = new Attributes({ axis: int(-1), epsilon: float(found.epsilon) });
    }
    graph.removeDead();
    graph.sort();
  },
});
