// Pass find-group-norm: group normalization as exports spell it → one operator. In: Reshape, InstanceNormalization without
// scale, Reshape, Mul, Add. Out: revnetify.GroupNormalization, whose channels can be followed and which keeps its operand
// alone for the gradient. Invariant: scale and bias stay the constants they were, and the result stays the same value.

import { Attributes, float, int } from '../src/ir/index.js';
import type { Node, Value } from '../src/ir/index.js';
import { REVNETIFY } from '../src/ops/index.js';
import { makePattern, matchAt } from '../src/rewrite/index.js';
import type { Match } from '../src/rewrite/index.js';
import { definePass } from './state.js';

const pattern = makePattern('find-group-norm', (op, { x, rows, planes, scale, bias }) => {
  const grouped = op.Reshape(x, rows).as('rows');
  const normal = op.InstanceNormalization(grouped, 1, 0).as('normal');
  return op.Add(op.Mul(op.Reshape(normal, planes).as('planes'), scale), bias);
});

interface GroupNorm {
  readonly operands: readonly [x: Value, scale: Value, bias: Value];
  readonly groups: number;
  readonly epsilon: number;
}

/** One number per channel, shaped as an elementwise operator repeats it over [N,C,…]. */
const isColumn = ({ shape }: Value, channels: number, rank: number): boolean =>
  shape?.length === rank - 1 && shape[0] === channels && shape.slice(1).every((d) => d === 1);

/** What the match stands for, if its Reshapes share out whole channels and come back to the shape of X. */
function groupNormOf({ nodes, values }: Match): GroupNorm | undefined {
  const node = (label: string): Node | undefined =>
    [...nodes].find(([part]) => part.label === label)?.[1];
  const [x, scale, bias] = ['x', 'scale', 'bias'].map((name) => values.get(name));
  const [rows, planes] = ['rows', 'planes'].map((label) => node(label)?.output().shape);
  if (!x?.shape || !scale || !bias || !rows || !planes) return undefined;
  const [batch, channels] = x.shape;
  const [ownBatch, groups] = rows;
  if (typeof channels !== 'number' || typeof groups !== 'number' || rows.length !== 3)
    return undefined;
  const same = planes.length === x.shape.length && planes.every((d, i) => d === x.shape?.[i]);
  const rank = x.shape.length;
  if (ownBatch !== batch || channels % groups !== 0 || !same) return undefined;
  if (!isColumn(scale, channels, rank) || !isColumn(bias, channels, rank)) return undefined;
  const epsilon = node('normal')?.attributes.float('epsilon', 1e-5) ?? 1e-5;
  return { operands: [x, scale, bias], groups, epsilon };
}

export const findGroupNorm = definePass({
  name: 'find-group-norm',
  summary: 'make one operator of group normalization that an export spelled out',
  run: ({ model: { graph } }) => {
    for (const node of [...graph.nodes]) {
      if (node.op !== pattern.op || node.domain !== pattern.domain) continue;
      const match = matchAt(pattern, node, graph);
      const found = match.matched ? groupNormOf(match) : undefined;
      if (!found) continue;
      node.truncateInputs(0);
      for (const value of found.operands) node.addInput(value);
      node.op = 'GroupNormalization';
      node.domain = REVNETIFY;
      node.attributes = new Attributes({
        num_groups: int(found.groups),
        epsilon: float(found.epsilon),
      });
    }
    graph.removeDead();
    graph.sort();
  },
});
