// The gradients of pooling as ai.onnx nodes. In: MaxPoolGrad and AveragePoolGrad. Out: dX. Invariant: what
// overlapping windows give to one element adds up (a MaxUnpool would overwrite), and of equal maxima the first
// in scan order gets it all.

import { Tensor, elementCount, int } from '../ir/index.js';
import { Value } from '../ir/index.js';
import type { Node } from '../ir/index.js';
import { at, reach } from '../ops/conv-geometry.js';
import { scalarLike } from '../ops/index.js';
import type { Builder } from '../ops/index.js';
import { inputExtents } from '../ops/pool-gradient.js';
import { divisorsOf, indices, poolGeometry } from '../ops/pool-geometry.js';
import type { PoolGeometry } from '../ops/pool-geometry.js';
import { asNumber, runtimeZeros } from './activation.js';
import { defineLowering } from './definition.js';
import type { LowerContext, Lowering } from './definition.js';

// ---- putting windows back

/** Pads the axes from 2 on; itself where there is nothing to pad. */
function pad(
  b: Builder,
  x: Value,
  begin: readonly number[],
  end: readonly number[],
  fill?: Value,
): Value {
  if ([...begin, ...end].every((p) => p === 0)) return x;
  return b.op('Pad', [x, b.ints(0, 0, ...begin, 0, 0, ...end), ...(fill ? [fill] : [])]);
}

/** Every step-th element of the axes from 2 on, from `starts`, `counts` of them; itself where that is all. */
function strided(
  b: Builder,
  x: Value,
  starts: readonly number[],
  counts: readonly number[],
  steps: readonly number[],
): Value {
  const axes = counts.flatMap((count, i) =>
    at(starts, i) === 0 && at(steps, i) === 1 && count === x.shape?.[i + 2] ? [] : [i],
  );
  if (axes.length === 0) return x;
  return b.op('Slice', [
    x,
    b.ints(...axes.map((i) => at(starts, i))),
    b.ints(...axes.map((i) => at(starts, i) + (at(counts, i) - 1) * at(steps, i) + 1)),
    b.ints(...axes.map((i) => i + 2)),
    b.ints(...axes.map((i) => at(steps, i))),
  ]);
}

/**
 * The transpose of gathering windows: adds contribution(tap) [N,C,out…] to the elements that tap reads. Taps
 * whose offset leaves the same remainder by the stride hit the same lattice of elements, so each remainder
 * is summed at the size of the output and the lattices are interleaved once: zeros are never inserted.
 * @param lead the extents N and C
 */
function scatterWindows(
  b: Builder,
  lead: readonly number[],
  g: PoolGeometry,
  contribution: (tap: readonly number[]) => Value,
): Value {
  const axes = g.kernel.map((_, i) => i);
  const furthest = axes.map((i) =>
    Math.floor((at(g.dilations, i) * (at(g.kernel, i) - 1)) / at(g.strides, i)),
  );
  const extents = axes.map((i) => at(g.output, i) + at(furthest, i));
  const sums = new Map<string, Value>();
  for (const tap of indices(g.kernel)) {
    const offset = axes.map((i) => at(tap, i) * at(g.dilations, i));
    const remainder = axes.map((i) => at(offset, i) % at(g.strides, i)).join();
    const shift = axes.map((i) => Math.floor(at(offset, i) / at(g.strides, i)));
    const rest = axes.map((i) => at(furthest, i) - at(shift, i));
    const part = pad(b, contribution(tap), shift, rest);
    const sum = sums.get(remainder);
    sums.set(remainder, sum ? b.op('Add', [sum, part], { name: 'overlap' }) : part);
  }
  const someSum = [...sums.values()][0];
  if (!someSum) throw new Error('internal error: a window without elements');
  let parts = Array.from(indices(g.strides), (remainder) => {
    const sum = sums.get(remainder.join());
    return sum ?? runtimeZeros(b, someSum, [...lead, ...extents]);
  });
  // Interleaved from the last axis on: `parts` is in row-major order of the remainders of axes 0…axis.
  for (const axis of [...axes].reverse()) {
    const stride = at(g.strides, axis);
    if (stride > 1) {
      const joined: Value[] = [];
      const apart = [...lead, ...extents.slice(0, axis + 1), 1, ...extents.slice(axis + 1)];
      extents[axis] = at(extents, axis) * stride;
      for (let i = 0; i < parts.length; i += stride) {
        const group = parts.slice(i, i + stride);
        const views = group.map((part) => b.op('Reshape', [part, b.ints(...apart)]));
        const stacked = b.op('Concat', views, { attributes: { axis: int(axis + 3) } });
        joined.push(b.op('Reshape', [stacked, b.ints(...lead, ...extents)], { name: 'joined' }));
      }
      parts = joined;
    }
  }
  const whole = at(parts, 0);
  const counts = axes.map((i) => Math.min(at(g.input, i), at(extents, i) - at(g.begin, i)));
  const cut = strided(
    b,
    whole,
    g.begin,
    counts,
    axes.map(() => 1),
  );
  return pad(
    b,
    cut,
    axes.map(() => 0),
    axes.map((i) => at(g.input, i) - at(counts, i)),
  );
}

// ---- MaxPool

/** The MaxPool that made Y out of X, with its indices: its second output, added where it is missing. */
function indexed(ctx: LowerContext): Node {
  const { b } = ctx;
  const [x, y] = [ctx.input(0), ctx.input(1)];
  const { producer } = y;
  if (producer?.op !== 'MaxPool' || producer.domain !== '' || producer.input(0) !== x)
    return b.node('MaxPool', [x], { attributes: ctx.attributes, outputs: 2 });
  if (producer.outputs[1]) return producer;
  const name = b.graph.uniqueName(`${y.name}.indices`);
  const made = new Value(name, { dtype: 'int64', shape: y.shape });
  made.producer = producer;
  made.outputIndex = 1;
  producer.outputs[1] = made;
  producer.source = undefined;
  return producer;
}

const maxByScatter = (ctx: LowerContext): Value[] => {
  const { b } = ctx;
  const dims = ctx.shape(0);
  const flat = (value: Value): Value => b.op('Reshape', [value, b.ints(-1)]);
  const updates = flat(ctx.input(2));
  const pool = indexed(ctx);
  // ONNX Runtime never gives back what nobody reads: so that Y, made once more for its indices, has a reader.
  const witness = pool.phase === 'forward' ? updates : pool.output();
  const zeros = runtimeZeros(b, witness, [elementCount(dims)]);
  const sums = b.op('ScatterElements', [zeros, flat(pool.output(1)), updates], {
    attributes: { axis: int(0), reduction: { kind: 'string', value: 'add' } },
    name: 'scatter',
  });
  return [b.op('Reshape', [sums, b.ints(...dims)], { name: 'dX' })];
};

/** Below every number; −∞ is not to be written in every shading language. */
const LOWEST = -3.4028234663852886e38;

const maxBySlices = (ctx: LowerContext): Value[] => {
  const { b } = ctx;
  const [x, y, dY] = [ctx.input(0), ctx.input(1), ctx.input(2)];
  const dims = ctx.shape(0);
  const g = poolGeometry(ctx.attributes, dims.slice(2));
  const missing = g.input.map((extent, i) => {
    const window = reach(at(g.kernel, i), at(g.dilations, i));
    const covered = (at(g.output, i) - 1) * at(g.strides, i) + window;
    return Math.max(0, covered - extent - at(g.begin, i));
  });
  const padded = pad(b, x, g.begin, missing, scalarLike(b, x, LOWEST));
  // 1 as long as no earlier element of the window was its maximum.
  let free: Value | undefined;
  const dX = scatterWindows(b, dims.slice(0, 2), g, (tap) => {
    const starts = tap.map((t, i) => t * at(g.dilations, i));
    const seen = strided(b, padded, starts, g.output, g.strides);
    const equal = asNumber(b, b.op('Equal', [seen, y], { name: 'isMaximum' }), x);
    const first = free ? b.op('Mul', [equal, free], { name: 'isFirst' }) : equal;
    free = b.op('Sub', [free ?? scalarLike(b, x, 1), first], { name: 'free' });
    return b.op('Mul', [dY, first], { name: 'share' });
  });
  return [dX];
};

// ---- AveragePool

/** A box is the product of its sides: one axis after the other, k + k instead of k·k additions. */
const averageByAxes = (ctx: LowerContext): Value[] => {
  const { b } = ctx;
  const dY = ctx.input(0);
  const [batch = 0, channels = 0] = ctx.shape(0);
  const g = poolGeometry(ctx.attributes, inputExtents(ctx.attributes));
  const shares = divisorsOf(g, ctx.attributes.int('count_include_pad', 0) === 1).map((d) => 1 / d);
  const first = shares[0] ?? 1;
  const dtype = dY.type?.dtype ?? 'float32';
  const factor = shares.every((s) => s === first)
    ? scalarLike(b, dY, first)
    : b.constant(new Tensor(dtype, [1, 1, ...g.output], shares), 'shares');
  let result = b.op('Mul', [dY, factor], { name: 'share' });
  // What is not spread yet has the extents of the output, what is has those of the input.
  const extents = [...g.output];
  for (const axis of [...extents.keys()].reverse()) {
    const only = (list: readonly number[], rest: number): number[] =>
      extents.map((_, i) => (i === axis ? at(list, i) : rest));
    const source = result;
    const along: PoolGeometry = {
      kernel: only(g.kernel, 1),
      strides: only(g.strides, 1),
      dilations: only(g.dilations, 1),
      begin: only(g.begin, 0),
      end: only(g.end, 0),
      output: [...extents],
      input: extents.map((extent, i) => (i === axis ? at(g.input, i) : extent)),
    };
    result = scatterWindows(b, [batch, channels], along, () => source);
    extents[axis] = at(g.input, axis);
  }
  return [result];
};

export const poolLowerings: readonly Lowering[] = [
  defineLowering({ type: 'MaxPoolGrad', rules: { cpu: maxByScatter, portable: maxBySlices } }),
  defineLowering({
    type: 'AveragePoolGrad',
    rules: { cpu: averageByAxes, portable: averageByAxes },
  }),
];
