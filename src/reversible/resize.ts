// Changes extents of a graph. In: axis classes and, for each, which of the old indices it keeps. Out: the graph with
// weights cut, types and repeated extents (group counts, Reshape targets) to match. Invariant: a weight that only loses
// entries keeps the values of the rest; one that gains any is drawn anew as a whole.

import { DiagnosticError, invariant } from '../diagnostics/index.js';
import { ELEMENT_BYTES, Tensor, elementCount, isFloat } from '../ir/index.js';
import type { ConstantData, DataType, Graph, Node, Value } from '../ir/index.js';
import type { AxisClass } from '../analysis/index.js';
import { Builder, findOp } from '../ops/index.js';
import { drawnConstant, initialOf } from './initial.js';

/** The old index at each new one; −1: new. */
export type Selection = readonly number[];

/** Old indices from..to, then new ones. */
export const select = (from: number, to: number, fresh = 0): Selection => [
  ...Array.from({ length: to - from }, (_, i) => from + i),
  ...Array.from({ length: fresh }, () => -1),
];

/** The first `extent` indices of an axis that has `old` now. */
export const resizedTo = (old: number, extent: number): Selection =>
  select(0, Math.min(old, extent), Math.max(0, extent - old));

export function resizeAxes(
  graph: Graph,
  changes: ReadonlyMap<AxisClass, Selection>,
  seed: number,
): void {
  const byValue = new Map<Value, Map<number, Selection>>();
  for (const [axisClass, selection] of changes)
    for (const { value, axis } of axisClass.members) {
      const axes = byValue.get(value) ?? new Map<number, Selection>();
      byValue.set(value, axes.set(axis, selection));
    }
  const touched = new Set<Node>();
  for (const [value, axes] of byValue) {
    const { type, constant } = value;
    if (type?.shape)
      value.type = {
        dtype: type.dtype,
        shape: type.shape.map((d, axis) => axes.get(axis)?.length ?? d),
      };
    if (constant) {
      value.constant = resized(value, constant, axes, seed);
      value.source = undefined;
    }
    if (value.producer) touched.add(value.producer);
    for (const user of value.users) touched.add(user);
  }
  for (const node of touched) {
    if (!graph.has(node)) continue;
    const b = new Builder(graph, { phase: node.phase, path: node.name });
    findOp(node)?.resized?.(node, b);
  }
}

function resized(
  value: Value,
  constant: ConstantData,
  axes: ReadonlyMap<number, Selection>,
  seed: number,
): ConstantData {
  const dims = constant.dims.map((d, axis) => axes.get(axis)?.length ?? d);
  const grows = [...axes.values()].some((selection) => selection.includes(-1));
  if (!grows) return new SelectedData(constant, axes, dims);
  if (!isFloat(constant.dtype))
    throw new DiagnosticError(
      'model/invalid',
      `weight ${value.name}`,
      `it is ${constant.dtype}, where a layer needs a float type`,
    );
  const initial = value.uses
    .map(({ node, index }) => initialOf(node, index, value, dims))
    .find((found) => found !== undefined);
  invariant(initial, `${value.name} grows, but no reader says what a new weight starts as`);
  return drawnConstant(value.name, constant.dtype, dims, initial, seed);
}

/** What is left of a constant, gathered when it is asked for: large weights are not held. */
class SelectedData implements ConstantData {
  constructor(
    private readonly origin: ConstantData,
    private readonly axes: ReadonlyMap<number, Selection>,
    readonly dims: readonly number[],
  ) {}

  get dtype(): DataType {
    return this.origin.dtype;
  }

  load(): Tensor {
    const out = Tensor.zeros(this.dtype, this.dims);
    this.gather(this.origin.load().data, out.data, 1);
    return out;
  }

  bytes(): Uint8Array {
    const width = ELEMENT_BYTES[this.dtype];
    const out = new Uint8Array(elementCount(this.dims) * width);
    this.gather(this.origin.bytes(), out, width);
    return out;
  }

  /** @param width entries of the arrays per element */
  private gather<A extends Uint8Array | Float64Array>(from: A, out: A, width: number): void {
    const { origin, axes, dims } = this;
    // What follows the last axis that is selected from stays together.
    const last = Math.max(-1, ...axes.keys());
    const strides = origin.dims.map((_, axis) => elementCount(origin.dims.slice(axis + 1)) * width);
    const run = elementCount(dims.slice(last + 1)) * width;
    const at = new Array<number>(last + 1).fill(0);
    for (let to = 0; to < out.length; to += run) {
      let start = 0;
      for (let axis = 0; axis <= last; axis++) {
        const index = at[axis] ?? 0;
        start += (axes.get(axis)?.[index] ?? index) * (strides[axis] ?? 0);
      }
      for (let i = 0; i < run; i++) out[to + i] = from[start + i] ?? NaN;
      for (let axis = last; axis >= 0; axis--) {
        at[axis] = (at[axis] ?? 0) + 1;
        if ((at[axis] ?? 0) < (dims[axis] ?? 0)) break;
        at[axis] = 0;
      }
    }
  }
}
