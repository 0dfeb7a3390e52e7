// What inference shares: broadcasting of shapes, axes, sizes. Invariant: nothing here knows a particular
// operator. Elements and gradients have the like in elements.ts and gradient-parts.ts.

import { elementCount, isStatic, sameShape } from '../ir/index.js';
import type { Attributes, DataType, Dim, Shape, TensorType } from '../ir/index.js';
import type { InferContext } from './definition.js';
import { impossible } from './elements.js';

// The other two files of shared parts, under one import.
export * from './elements.js';
export * from './gradient-parts.js';

// ---- shapes

/** One extent of a broadcast. Two different symbols give a fresh one: either may turn out to be 1. */
function broadcastDim(ctx: InferContext, a: Dim, b: Dim): Dim {
  if (a === b || b === 1) return a;
  if (a === 1) return b;
  if (typeof a === 'number' && typeof b === 'number')
    ctx.fail(`extents ${a} and ${b} cannot be broadcast`);
  // A symbol beside a number above 1 must be that number or 1.
  if (typeof a === 'number') return a;
  if (typeof b === 'number') return b;
  return ctx.fresh();
}

/** The shape that all given shapes broadcast to (numpy rules). @throws DiagnosticError shape/mismatch */
export function broadcastShapes(ctx: InferContext, shapes: readonly Shape[]): Shape {
  const [first = []] = shapes;
  if (shapes.every((shape) => sameShape(shape, first))) return first;
  const rank = Math.max(0, ...shapes.map((s) => s.length));
  return Array.from({ length: rank }, (_, i) =>
    shapes.reduce<Dim>((dim, shape) => {
      const at = i - (rank - shape.length);
      return broadcastDim(ctx, dim, shape[at] ?? 1);
    }, 1),
  );
}

/** Type of an elementwise result over all operands; dtype of the operands unless given. */
export function broadcastType(ctx: InferContext, dtype?: DataType): TensorType {
  const first = ctx.inputCount > 0 ? ctx.type(0) : undefined;
  // Most nodes combine operands of one type.
  if (first?.shape && !dtype && isSameThroughout(ctx, first)) return first;
  const types = Array.from({ length: ctx.inputCount }, (_, i) => ctx.type(i));
  const own = types[0]?.dtype ?? 'float32';
  const other = types.find((t) => t.dtype !== own);
  if (other) ctx.fail(`operands are ${own} and ${other.dtype}`);
  const known = types.every((t) => t.shape !== undefined);
  return {
    dtype: dtype ?? own,
    shape: known ? broadcastShapes(ctx, shapesOf(ctx)) : undefined,
  };
}

function isSameThroughout(ctx: InferContext, { dtype, shape }: TensorType): boolean {
  for (let index = 1; index < ctx.inputCount; index++) {
    const other = ctx.type(index);
    if (other.dtype !== dtype || !sameShape(other.shape, shape)) return false;
  }
  return true;
}

const shapesOf = (ctx: InferContext): Shape[] =>
  Array.from({ length: ctx.inputCount }, (_, i) => ctx.shape(i));

/** Number of elements of output 0, 0 while it is not known: what most costs are proportional to. */
export function outputSize(ctx: InferContext): number {
  const shape = ctx.node.outputs[0]?.shape;
  return isStatic(shape) ? elementCount(shape) : 0;
}

/** Number of elements of an operand, 0 while it is not known. */
export function inputSize(ctx: InferContext, index = 0): number {
  const shape = ctx.node.inputs[index]?.shape;
  return isStatic(shape) ? elementCount(shape) : 0;
}

/** An axis counted from the front. */
export function normalizeAxis(axis: number, rank: number, fail: (why: string) => never): number {
  const normal = axis < 0 ? axis + rank : axis;
  if (!Number.isInteger(normal) || normal < 0 || normal >= rank)
    fail(`axis ${axis} does not exist in rank ${rank}`);
  return normal;
}

/** normalizeAxis over a list, sorted, each once. */
export function normalizeAxes(
  axes: readonly number[],
  rank: number,
  fail: (why: string) => never,
): number[] {
  const normal = new Set(axes.map((axis) => normalizeAxis(axis, rank, fail)));
  return [...normal].sort((a, b) => a - b);
}

/** The `axis` attribute of a node that is evaluated. */
export const axisOf = (attributes: Attributes, rank: number, fallback = 0): number =>
  normalizeAxis(attributes.int('axis', fallback), rank, impossible);

/** The `axis` attribute of a node that is being typed. @throws DiagnosticError shape/mismatch */
export const inferAxis = (ctx: InferContext, rank: number, fallback = 0): number =>
  normalizeAxis(ctx.attributes.int('axis', fallback), rank, (why) => ctx.fail(why));

/** An index counted from the front. */
export const wrapIndex = (index: number, extent: number): number =>
  index < 0 ? index + extent : index;
