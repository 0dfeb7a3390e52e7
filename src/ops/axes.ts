// How operators tie the extents of their operands and results together. In: a node with types. Out: axes that have
// one extent. Invariant: an axis that appears in no link of a node cannot be changed without breaking that node.

import { DiagnosticError } from '../diagnostics/index.js';
import { elementCount } from '../ir/index.js';
import type { Dim, Node, Shape, Value } from '../ir/index.js';
import type { AxisLink, AxisRef, InferContext } from './definition.js';
import { multiplyDims } from './dims.js';
import { inferContext } from './infer.js';
import { findOp } from './registry.js';

export const inAxis = (index: number, axis: number): AxisRef => ({ side: 'in', index, axis });
export const outAxis = (axis: number, index = 0): AxisRef => ({ side: 'out', index, axis });

const rankOf = (shape: Shape | undefined): number => shape?.length ?? 0;

/** Every axis of the operand with the same axis of the first result. */
export const sameAxes = (ctx: InferContext, index = 0): AxisLink[] =>
  Array.from({ length: rankOf(ctx.node.inputs[index]?.shape) }, (_, axis) => ({
    axes: [inAxis(index, axis), outAxis(axis)],
  }));

/** A constant of one element is no weight: it fits whatever the others grow to. */
const isSingle = (value: Value | undefined): boolean =>
  value?.constant !== undefined && elementCount(value.constant.dims) === 1;

/** Operands of an elementwise operator, aligned at the last axis; what is repeated (extent 1) stays as it is. */
export function broadcastAxes(ctx: InferContext): AxisLink[] {
  const out = ctx.node.outputs[0]?.shape;
  if (!out) return [];
  return out.map((extent, axis): AxisLink => {
    const axes: AxisRef[] = [outAxis(axis)];
    for (let index = 0; index < ctx.inputCount; index++) {
      const shape = ctx.node.inputs[index]?.shape;
      if (!shape) continue;
      const own = axis - (out.length - shape.length);
      const repeats = shape[own] === 1 && (extent !== 1 || isSingle(ctx.node.inputs[index]));
      if (own >= 0 && !repeats) axes.push(inAxis(index, own));
    }
    return { axes };
  });
}

/** Operand axis i becomes result axis place(i); undefined: the axis is gone, its extent is free. */
export const movedAxes = (rank: number, place: (axis: number) => number | undefined): AxisLink[] =>
  Array.from({ length: rank }, (_, axis) => {
    const to = place(axis);
    return { axes: to === undefined ? [inAxis(0, axis)] : [inAxis(0, axis), outAxis(to)] };
  });

/** Batch and channels of X and Y; the window axes are left alone. */
export const planeAxes = (): AxisLink[] => [
  { axes: [inAxis(0, 0), outAxis(0)] },
  { axes: [inAxis(0, 1), outAxis(1)] },
];

/** Axes that a change of layout leaves in place: the leading ones up to the first that differs (and that one's extent
 * too where all that is split off or joined behind it has extent 1), and the trailing ones back to the last that differs:
 * [N,C,H,W] → [N,C,H*W] keeps N and C, [N,T,C] → [N*T,C] keeps C. */
export function layoutAxes(from: Shape | undefined, to: Shape | undefined): AxisLink[] {
  if (!from || !to) return [];
  const leading = leadingAxes(from, to);
  let kept = 0;
  const most = Math.min(from.length, to.length) - leading.length;
  while (kept < most && from.at(-1 - kept) === to.at(-1 - kept)) kept++;
  if (
    multiplyDims(from.slice(0, from.length - kept)) !== multiplyDims(to.slice(0, to.length - kept))
  )
    return leading;
  const trailing = Array.from({ length: kept }, (_, i) => ({
    axes: [inAxis(0, from.length - kept + i), outAxis(to.length - kept + i)],
  }));
  return [...leading, ...trailing];
}

function leadingAxes(from: Shape, to: Shape): AxisLink[] {
  let kept = 0;
  while (kept < from.length && kept < to.length && from[kept] === to[kept]) kept++;
  // [N,C,H] → [N,C,H'] with H ≠ H' would not be a change of layout: what follows must have one size.
  const ones = (dims: readonly Dim[]): boolean => dims.every((d) => d === 1);
  const whole =
    kept === from.length ||
    kept === to.length ||
    multiplyDims(from.slice(kept)) === multiplyDims(to.slice(kept));
  if (!whole && !(ones(from.slice(kept)) && ones(to.slice(kept)))) return [];
  return Array.from({ length: kept }, (_, axis) => ({ axes: [inAxis(0, axis), outAxis(axis)] }));
}

/** What the operator of a node says of its axes; undefined where nothing is known. */
export function axisLinks(node: Node): readonly AxisLink[] | undefined {
  const definition = findOp(node);
  const ctx = inferContext(node);
  try {
    if (definition?.axes) return definition.axes(ctx);
  } catch (error) {
    // Shapes that are not known tie nothing together.
    if (error instanceof DiagnosticError) return undefined;
    throw error;
  }
  return definition?.keepsShape === true ? sameAxes(ctx) : undefined;
}
