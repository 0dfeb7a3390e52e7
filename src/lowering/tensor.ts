// The gradient of Slice as ai.onnx nodes, the same for every target. In: SliceGrad with its bounds as
// attributes. Out: the gradient at the places the slice was taken from, zeros elsewhere: a Pad, preceded by
// zero insertion where the slice had strides.

import { elementCount } from '../ir/index.js';
import type { Value } from '../ir/index.js';
import { expandLike, scalarLike, sliceGradRanges } from '../ops/index.js';
import type { Builder } from '../ops/index.js';
import { defineLowering } from './definition.js';
import type { LowerContext, Lowering } from './definition.js';

/** Puts step − 1 zeros after each element of the axes whose step is above 1. */
function insertZeros(
  b: Builder,
  x: Value,
  counts: readonly number[],
  steps: readonly number[],
): Value {
  // Each strided axis becomes (count, 1), the 1 is padded to the step, and both are one axis again.
  const split = counts.flatMap((count, i) => ((steps[i] ?? 1) > 1 ? [count, 1] : [count]));
  const after = counts.flatMap((_, i) => ((steps[i] ?? 1) > 1 ? [0, (steps[i] ?? 1) - 1] : [0]));
  const apart = b.op('Reshape', [x, b.ints(...split)]);
  const padded = b.op('Pad', [apart, b.ints(...after.map(() => 0), ...after)]);
  return b.op('Reshape', [padded, b.ints(...counts.map((count, i) => count * (steps[i] ?? 1)))]);
}

const sliceGrad = (ctx: LowerContext): Value[] => {
  const { b } = ctx;
  const extents = ctx.outputShape();
  const ranges = sliceGradRanges(ctx.attributes);
  const counts = ranges.map((r) => r.count);
  let x = ctx.input(0);
  if (elementCount(counts) === 0) return [expandLike(b, scalarLike(b, x, 0), ctx.node.output())];
  const axesWhere = (test: (i: number) => boolean): number[] =>
    ranges.map((_, i) => i).filter((i) => test(i));

  const backwards = axesWhere((i) => (ranges[i]?.step ?? 1) < 0);
  if (backwards.length > 0) {
    const all = (value: number): Value => b.ints(...backwards.map(() => value));
    // A backwards slice runs to before the first element, which only a far negative bound can say.
    x = b.op('Slice', [x, all(-1), all(-(2 ** 62)), b.ints(...backwards), all(-1)]);
  }
  const steps = ranges.map((r) => (r.count > 1 ? Math.abs(r.step) : 1));
  const starts = ranges.map((r) => (r.step < 0 ? r.start + (r.count - 1) * r.step : r.start));
  let widths = counts;
  if (steps.some((step) => step > 1)) {
    x = insertZeros(b, x, counts, steps);
    // The zeros after the last element may reach beyond the end.
    const room = counts.map((count, i) =>
      Math.min(count * (steps[i] ?? 1), (extents[i] ?? 0) - (starts[i] ?? 0)),
    );
    const cut = axesWhere((i) => (room[i] ?? 0) < (counts[i] ?? 0) * (steps[i] ?? 1));
    if (cut.length > 0)
      x = b.op('Slice', [
        x,
        b.ints(...cut.map(() => 0)),
        b.ints(...cut.map((i) => room[i] ?? 0)),
        b.ints(...cut),
      ]);
    widths = room;
  }
  const ends = extents.map((extent, i) => extent - (starts[i] ?? 0) - (widths[i] ?? 0));
  if ([...starts, ...ends].every((p) => p === 0)) return [x];
  return [b.op('Pad', [x, b.ints(...starts, ...ends)])];
};

export const tensorLowerings: readonly Lowering[] = [
  defineLowering({ type: 'SliceGrad', rules: { cpu: sliceGrad, portable: sliceGrad } }),
];
