// Slice and Pad, which undo each other, and the abstract gradient of Slice. In: any tensor, with the bounds
// as operands. Out: part of it, or it with a margin. Invariant: bounds are clamped as ONNX says, so "to the
// end" written as 2^63 − 1 is the end.

import { Attributes, Tensor, ints, string } from '../ir/index.js';
import type { Dim, Shape } from '../ir/index.js';
import { sameAxes } from './axes.js';
import { normalizeAxis } from './broadcast.js';
import { copyStrided, impossible, stridesOf, takeAlong, writeStrided } from './elements.js';
import { movedContent } from './infer.js';
import { constantOperand, knownShape, noGradient } from './gradient-parts.js';
import { REVNETIFY, defineOp } from './definition.js';
import type { InferContext, OpDefinition, OpSample } from './definition.js';

/** One axis of a slice with its bounds clamped: `count` elements from `start` in steps of `step`. */
export interface SliceRange {
  readonly start: number;
  readonly step: number;
  readonly count: number;
}

/**
 * ONNX Runtime reads the largest int32 and int64 as "as far as it goes" backwards too, where the standard has
 * nothing left to take. Its reading is the one that is run.
 */
const isOpen = (end: number): boolean => end === 2 ** 31 - 1 || end >= 2 ** 63;

/** The elements start:end:step of an axis, as ONNX clamps them. */
function sliceRange(start: number, end: number, step: number, extent: number): SliceRange {
  const clamp = (x: number, low: number, high: number): number =>
    Math.min(Math.max(x < 0 ? x + extent : x, low), high);
  const [first, last] =
    step > 0
      ? [clamp(start, 0, extent), clamp(end, 0, extent)]
      : [clamp(start, 0, extent - 1), isOpen(end) ? -1 : clamp(end, -1, extent - 1)];
  return { start: first, step, count: Math.max(0, Math.ceil((last - first) / step)) };
}

/** Ranges of every axis of a slice. */
function sliceRanges(
  dims: readonly number[],
  starts: readonly number[],
  ends: readonly number[],
  axes: readonly number[] | undefined,
  steps: readonly number[] | undefined,
): SliceRange[] {
  const ranges = dims.map((extent): SliceRange => ({ start: 0, step: 1, count: extent }));
  starts.forEach((start, i) => {
    const axis = normalizeAxis(axes?.[i] ?? i, dims.length, impossible);
    ranges[axis] = sliceRange(start, ends[i] as number, steps?.[i] ?? 1, dims[axis] as number);
  });
  return ranges;
}

/** Extent of a sliced axis whose bounds or extent may be symbols. */
function slicedDim(ctx: InferContext, extent: Dim, start: Dim, end: Dim, step: number): Dim {
  if (typeof start === 'number' && typeof end === 'number' && typeof extent === 'number')
    return sliceRange(start, end, step, extent).count;
  if (step === 1 && start === 0) {
    // All of it, or the first so many.
    if (end === extent || (typeof end === 'number' && end >= 2 ** 31 - 1)) return extent;
    if (typeof end === 'string' && typeof extent === 'string') return ctx.fresh();
  }
  return ctx.fresh();
}

function slicedShape(ctx: InferContext): Shape | undefined {
  const { shape } = ctx.type(0);
  if (!shape) return undefined;
  const starts = ctx.content(1);
  const ends = ctx.content(2);
  const steps = ctx.has(4) ? ctx.numbers(4) : [];
  const axes = ctx.has(3) ? ctx.numbers(3) : shape.map((_, i) => i);
  // Without the axes any extent may change.
  if (!axes) return shape.map(() => ctx.fresh());
  const count = starts?.length ?? ends?.length ?? (ctx.has(3) ? axes.length : shape.length);
  const out: Dim[] = [...shape];
  axes.slice(0, count).forEach((given, i) => {
    const axis = normalizeAxis(given, shape.length, (why) => ctx.fail(why));
    const [start, end, step] = [starts?.[i], ends?.[i], steps && (steps[i] ?? 1)];
    const known = start !== undefined && end !== undefined && step !== undefined;
    out[axis] = known ? slicedDim(ctx, shape[axis] as Dim, start, end, step) : ctx.fresh();
  });
  return out;
}

const sample = (
  label: string,
  x: Tensor,
  starts: readonly number[],
  ends: readonly number[],
  axes?: readonly number[],
  steps?: readonly number[],
): OpSample => {
  const lists = [starts, ends, axes, steps].flatMap((list) => (list ? [Tensor.ints(list)] : []));
  return { label, inputs: [x, ...lists], constants: lists.map((_, i) => i + 1) };
};

const slice = defineOp({
  type: 'Slice',
  axes: (ctx) => {
    const starts = ctx.numbers(1);
    const axes = ctx.has(3) ? ctx.numbers(3) : starts?.map((_, i) => i);
    const rank = ctx.shape(0).length;
    const cut = axes?.map((axis) => (axis < 0 ? axis + rank : axis));
    return cut ? sameAxes(ctx).filter((_, axis) => !cut.includes(axis)) : [];
  },
  infer: (ctx) => [{ dtype: ctx.type(0).dtype, shape: slicedShape(ctx) }],
  propagate: (ctx) => {
    const lists = [1, 2, 3, 4].map((i) => (ctx.has(i) ? ctx.numbers(i) : []));
    const [starts, ends, axes, steps] = lists;
    if (!starts || !ends || !axes || !steps) return undefined;
    return movedContent(ctx, (x) =>
      sliced(x, starts, ends, ctx.has(3) ? axes : undefined, ctx.has(4) ? steps : undefined),
    );
  },
  evaluate: (ctx) => {
    const [, starts, ends, axes, steps] = ctx.inputs.map((list) => list?.toArray());
    return [sliced(ctx.input(0), starts ?? [], ends ?? [], axes, steps)];
  },
  gradient: (ctx) => {
    if (!ctx.wants(0)) return [undefined];
    const dims = knownShape(ctx.node, ctx.input(0));
    const attributes: Record<string, ReturnType<typeof ints>> = { input_shape: ints(dims) };
    const list = (index: number): number[] | undefined => constantOperand(ctx.node, index);
    const starts = list(1) ?? [];
    attributes['starts'] = ints(starts);
    attributes['ends'] = ints(list(2) ?? []);
    attributes['axes'] = ints(list(3) ?? starts.map((_, i) => i));
    attributes['steps'] = ints(list(4) ?? starts.map(() => 1));
    return [ctx.b.op(`${REVNETIFY}.SliceGrad`, [ctx.grad()], { attributes })];
  },
  samples: (random) => {
    const x = random.tensor([4, 5, 3]);
    const far = 2 ** 63;
    const pairs = Tensor.of('int64', [3, 2], [0, 1, 2, 3, 4, 5]);
    const all = { constants: [0, 1, 2, 3, 4] };
    return [
      sample('leading axes', x, [1, 2], [3, 4]),
      sample('one axis', x, [1], [4], [1]),
      sample('negative bounds', x, [-3], [-1], [-2]),
      sample('to the end', x, [2], [far], [0]),
      sample('stride 2', x, [0, 1], [far, far], [0, 1], [2, 2]),
      sample('stride 2 that skips the last', x, [0], [3], [1], [2]),
      sample('reversed', x, [-1], [-far], [1], [-1]),
      sample('reversed, stride 3', x, [3, 4], [-far, 0], [0, 1], [-3, -2]),
      sample('nothing', x, [3], [2], [0]),
      // How exporters turn the order of the axes of a list of pads.
      { ...sample('rows of integers reversed', pairs, [-1], [-far], [0], [-1]), ...all },
      { ...sample('columns of integers', pairs, [1], [2], [1]), ...all },
    ];
  },
});

function sliced(
  x: Tensor,
  starts: readonly number[],
  ends: readonly number[],
  axes: readonly number[] | undefined,
  steps: readonly number[] | undefined,
): Tensor {
  const ranges = sliceRanges(x.dims, starts, ends, axes, steps);
  const dims = ranges.map((r) => r.count);
  const { strides, offset } = viewOf(x.dims, ranges);
  return new Tensor(x.dtype, dims, copyStrided(x.data, dims, strides, offset));
}

/** Strides and offset of a slice seen as a view. */
const viewOf = (
  dims: readonly number[],
  ranges: readonly SliceRange[],
): { strides: number[]; offset: number } => {
  const own = stridesOf(dims);
  return {
    strides: ranges.map((r, i) => r.step * (own[i] as number)),
    offset: ranges.reduce((at, r, i) => at + r.start * (own[i] as number), 0),
  };
};

/** Ranges a SliceGrad node stands for. */
export function sliceGradRanges(attributes: Attributes): SliceRange[] {
  const list = (name: string): readonly number[] => attributes.ints(name) ?? [];
  return sliceRanges(
    list('input_shape'),
    list('starts'),
    list('ends'),
    list('axes'),
    list('steps'),
  );
}

/** dX of Slice: dY at the places it was taken from, zeros elsewhere. Lowered by src/lowering/tensor.ts. */
const sliceGrad = defineOp({
  type: 'SliceGrad',
  domain: REVNETIFY,
  infer: (ctx) => [{ dtype: ctx.type(0).dtype, shape: ctx.attributes.ints('input_shape') }],
  evaluate: (ctx) => {
    const dy = ctx.input(0);
    const dims = ctx.attributes.ints('input_shape') ?? [];
    const ranges = sliceGradRanges(ctx.attributes);
    const out = Tensor.zeros(dy.dtype, dims);
    const { strides, offset } = viewOf(dims, ranges);
    writeStrided(out.data, dy.data, dy.dims, strides, offset);
    return [out];
  },
  samples: (random) => {
    const grad = (
      label: string,
      dy: readonly number[],
      starts: number[],
      ends: number[],
      axes: number[],
      steps: number[],
    ): OpSample => ({
      label,
      inputs: [random.tensor(dy)],
      attributes: new Attributes({
        starts: ints(starts),
        ends: ints(ends),
        axes: ints(axes),
        steps: ints(steps),
        input_shape: ints([4, 5, 3]),
      }),
    });
    const far = 2 ** 63;
    return [
      grad('a window', [2, 3, 3], [1, 2], [3, far], [0, 1], [1, 1]),
      grad('stride 2', [2, 2, 3], [0, 1], [far, far], [0, 1], [2, 2]),
      grad('stride 3 reversed', [2, 2, 3], [3, 4], [-far, 0], [0, 1], [-3, -2]),
      grad('reversed', [4, 5, 3], [-1], [-far], [-2], [-1]),
      grad('nothing', [0, 5, 3], [3], [2], [0], [1]),
    ];
  },
});

// ---- Pad

/** Where the elements of a padded axis come from; −1 = the constant. */
function padIndices(extent: number, begin: number, end: number, mode: string): number[] {
  return Array.from({ length: Math.max(0, begin + extent + end) }, (_, i) => {
    const at = i - begin;
    if (at >= 0 && at < extent) return at;
    if (mode === 'edge') return at < 0 ? 0 : extent - 1;
    if (mode === 'reflect') return at < 0 ? -at : 2 * (extent - 1) - at;
    return -1;
  });
}

const padMode = (attributes: Attributes): string => attributes.string('mode', 'constant');

const pad = defineOp({
  type: 'Pad',
  // A padded axis may change too, and its result apart from it: the pads make up the difference.
  axes: (ctx) => {
    const pads = ctx.numbers(1);
    const rank = ctx.shape(0).length;
    if (!pads) return [];
    return sameAxes(ctx).flatMap((link, axis) =>
      pads[axis] || pads[axis + rank] ? link.axes.map((ref) => ({ axes: [ref] })) : [link],
    );
  },
  resized: (node, b) => {
    const pads = node.input(1).constant?.load().toArray();
    const [from, to] = [node.input(0).shape, node.output().shape];
    if (!pads || !from || !to) return;
    const next = [...pads];
    from.forEach((extent, axis) => {
      const result = to[axis];
      if (typeof extent !== 'number' || typeof result !== 'number') return;
      const [begin = 0, end = 0] = [pads[axis], pads[axis + from.length]];
      const total = result - extent;
      if (total === begin + end) return;
      // What grows or shrinks does so on both sides alike; a shift (begin = −end) stays one.
      next[axis] = begin + end === 0 ? begin : Math.floor((total * begin) / (begin + end));
      next[axis + from.length] = total - next[axis];
    });
    if (next.some((p, i) => p !== pads[i])) node.setInput(1, b.ints(...next));
  },
  infer: (ctx) => {
    const { dtype, shape } = ctx.type(0);
    const pads = ctx.numbers(1);
    return [
      {
        dtype,
        shape: shape?.map((d, i) => {
          const [begin, end] = [pads?.[i], pads?.[i + shape.length]];
          if (begin === undefined || end === undefined) return ctx.fresh();
          if (typeof d === 'number') return d + begin + end;
          return begin + end === 0 ? d : ctx.fresh();
        }),
      },
    ];
  },
  evaluate: (ctx) => {
    const pads = ctx.input(1).toArray();
    const fill = ctx.inputs[2]?.data[0] ?? 0;
    const mode = padMode(ctx.attributes);
    let x = ctx.input(0);
    const rank = x.dims.length;
    x.dims.forEach((extent, axis) => {
      const [begin, end] = [pads[axis] as number, pads[axis + rank] as number];
      if (begin !== 0 || end !== 0)
        x = takeAlong(x, axis, padIndices(extent, begin, end, mode), fill);
    });
    return [x];
  },
  gradient: (ctx) => {
    if (!ctx.wants(0)) return [undefined];
    const { b, node } = ctx;
    if (padMode(ctx.attributes) !== 'constant')
      noGradient(node, `mode ${padMode(ctx.attributes)} has no gradient rule`);
    const pads = constantOperand(node, 1) ?? [];
    // A negative pad crops: there the gradient is padded back.
    if (pads.some((p) => p < 0)) return [b.op('Pad', [ctx.grad(), b.ints(...pads.map((p) => -p))])];
    const dims = knownShape(node, ctx.grad());
    const padded = dims.map((_, i) => i).filter((i) => pads[i] || pads[i + dims.length]);
    if (padded.length === 0) return [ctx.grad()];
    const starts = padded.map((i) => pads[i] as number);
    const ends = padded.map((i) => (dims[i] as number) - (pads[i + dims.length] as number));
    return [b.op('Slice', [ctx.grad(), b.ints(...starts), b.ints(...ends), b.ints(...padded)])];
  },
  samples: (random) => {
    const x = random.tensor([2, 3, 4]);
    const one = (label: string, pads: number[], mode: string, fill?: number): OpSample => ({
      label,
      inputs: [x, Tensor.ints(pads), ...(fill === undefined ? [] : [Tensor.scalar(fill)])],
      constants: [1, 2],
      attributes: new Attributes(mode === 'constant' ? {} : { mode: string(mode) }),
      differentiable: mode === 'constant' ? [0] : [],
    });
    return [
      one('zeros', [0, 1, 2, 0, 0, 1], 'constant'),
      one('a constant', [1, 0, 0, 1, 0, 0], 'constant', 2.5),
      one('negative pads crop', [0, -1, 1, 0, 1, -2], 'constant'),
      one('nothing', [0, 0, 0, 0, 0, 0], 'constant'),
      one('reflect', [0, 1, 2, 0, 2, 3], 'reflect'),
      one('edge', [0, 1, 2, 0, 2, 3], 'edge'),
    ];
  },
});

export const tensorSliceOps: readonly OpDefinition[] = [slice, sliceGrad, pad];
