// Normalizations above the working opset. Group normalization becomes the compiler's own operator, in which channels can
// be followed and which is spelled out in what is written; RMS normalization is spelled out at once.

import { InlineData, Tensor, float, int, ints } from '../../ir/index.js';
import type { Value } from '../../ir/index.js';
import { REVNETIFY } from '../../ops/index.js';
import type { Change, Conversion } from './conversion.js';
import { down } from './conversion.js';

/** A scale or bias as [C,1,…]; under its own name where nothing else reads it. */
function column(c: Conversion, index: number, channels: number, rank: number): Value {
  const value = c.node.input(index);
  const given = value.constant?.load() ?? c.fail(`operand ${index} is computed`);
  // One number per group, at opsets 18 to 20: repeated, so that training may tell channels of a group apart.
  const repeats = channels / given.size;
  const data = Array.from({ length: channels }, (_, i) => given.data[Math.floor(i / repeats)] ?? 0);
  const dims = [channels, ...new Array<number>(rank - 2).fill(1)];
  const tensor = Tensor.of(given.dtype, dims, data);
  const shared = value.uses.length > 1 || c.graph.inputs.includes(value);
  if (shared || c.graph.outputs.includes(value))
    return c.constant(tensor, index === 1 ? 'scale' : 'bias');
  value.constant = new InlineData(tensor);
  value.type = { dtype: given.dtype, shape: dims };
  value.source = undefined;
  return value;
}

/** Scale and bias are one number per group before opset 21, one per channel since. */
const groupNormalization = down(18, ['GroupNormalization'], (c) => {
  const shape = c.node.inputs[0]?.shape;
  const channels = shape?.[1];
  const groups = c.node.attributes.int('num_groups') ?? c.fail('it has no attribute num_groups');
  if (!shape || typeof channels !== 'number') return c.fail('the channels of X are not known');
  if (channels % groups !== 0)
    c.fail(`${channels} channels cannot be shared out to ${groups} groups`);
  for (const index of [1, 2]) {
    const size = c.node.inputs[index]?.shape?.[0];
    const expected = c.opset < 21 ? groups : channels;
    if (size !== expected) c.fail(`operand ${index} has ${size ?? '?'} entries, not ${expected}`);
  }
  const epsilon = float(c.node.attributes.float('epsilon', 1e-5));
  const operands = [1, 2].map((index) => column(c, index, channels, shape.length));
  c.become('GroupNormalization', [c.node.input(0), ...operands], {
    num_groups: int(groups),
    epsilon,
  });
  c.node.domain = REVNETIFY;
});

/** x / √(mean of squares + ε) · scale; Zhang and Sennrich 2019. */
const rmsNormalization = down(23, ['RMSNormalization'], (c) => {
  const x = c.node.input(0);
  const first = c.node.attributes.int('axis', -1);
  const rank = c.rank ?? 0;
  if (first >= 0 && rank === 0) c.fail('the rank of X is not known');
  const axes = Array.from({ length: first < 0 ? -first : rank - first }, (_, i) => first + i);
  const epsilon = c.constant(
    Tensor.scalar(c.node.attributes.float('epsilon', 1e-5), c.dtype),
    'epsilon',
  );
  const squares = c.before('Mul', [x, x], {}, 'squares');
  const mean = c.before('ReduceMean', [squares], { axes: ints(axes), keepdims: int(1) }, 'mean');
  const shifted = c.before('Add', [mean, epsilon], {}, 'shifted');
  const normal = c.before('Div', [x, c.before('Sqrt', [shifted], {}, 'size')], {}, 'normal');
  c.become('Mul', [normal, c.node.input(1)]);
});

export const newerNormChanges: readonly Change[] = [groupNormalization, rmsNormalization];
