// The arithmetic of pooling windows, shared by the operators, their gradients and the lowerings. In:
// attributes and extents. Out: pads, output extents, and the elements of each window. Invariant: ceil_mode
// never makes a window that would start in the padding at the end, and an average that counts padding does
// not count what lies beyond it (both as PyTorch and ONNX Runtime have it).

import { DiagnosticError } from '../diagnostics/index.js';
import { elementCount } from '../ir/index.js';
import type { Attributes, Dim } from '../ir/index.js';
import { at, listOf, reach, resolveConv } from './conv-geometry.js';
import type { ResolvedConv } from './conv-geometry.js';

/** A pooling with every number known; one entry per spatial axis. */
export interface PoolGeometry {
  readonly kernel: readonly number[];
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly begin: readonly number[];
  readonly end: readonly number[];
  readonly input: readonly number[];
  readonly output: readonly number[];
}

export const kernelOf = (attributes: Attributes): readonly number[] => {
  const kernel = attributes.ints('kernel_shape');
  if (!kernel)
    throw new DiagnosticError('model/invalid', 'attribute kernel_shape', 'a pooling needs it');
  return kernel;
};

/** Windows over `input` (spatial extents, which may be symbols). */
export function resolvePool(attributes: Attributes, input: readonly Dim[]): ResolvedConv {
  const kernel = listOf(attributes, 'kernel_shape', input.length, 1);
  const floor = resolveConv(attributes, input, kernel);
  const same = attributes.string('auto_pad', 'NOTSET').startsWith('SAME');
  if (same || attributes.int('ceil_mode', 0) === 0) return floor;
  const output = floor.output.map((size, i) => {
    const extent = at(input, i);
    const stride = at(floor.strides, i);
    // With stride 1 nothing is rounded.
    if (typeof extent !== 'number' || stride === 1) return size;
    const begin = floor.begin[i] ?? 0;
    const covered = extent + begin + (floor.end[i] ?? 0);
    const window = reach(at(kernel, i), at(floor.dilations, i));
    const count = Math.ceil((covered - window) / stride) + 1;
    return (count - 1) * stride >= extent + begin ? count - 1 : count;
  });
  return { ...floor, output };
}

/** The same with known extents. */
export function poolGeometry(attributes: Attributes, input: readonly number[]): PoolGeometry {
  const { strides, dilations, begin, end, output } = resolvePool(attributes, input);
  const known = (list: readonly (Dim | undefined)[]): number[] =>
    list.map((v) => {
      if (typeof v !== 'number') throw new Error('internal error: a window that is not known');
      return v;
    });
  return {
    kernel: kernelOf(attributes),
    strides,
    dilations,
    begin: known(begin),
    end: known(end),
    input,
    output: known(output),
  };
}

/** Every index of a box in row-major order. */
export function* indices(extents: readonly number[]): Generator<readonly number[]> {
  const total = elementCount(extents);
  const index = extents.map(() => 0);
  for (let n = 0; n < total; n++) {
    yield [...index];
    for (let i = extents.length - 1; i >= 0; i--) {
      const next = at(index, i) + 1;
      index[i] = next < at(extents, i) ? next : 0;
      if (next < at(extents, i)) break;
    }
  }
}

/** Per output position the elements of the input plane its window holds, in scan order, without padding. */
export function windowsOf(g: PoolGeometry): Int32Array[] {
  const windows: Int32Array[] = [];
  for (const position of indices(g.output)) {
    const elements: number[] = [];
    for (const tap of indices(g.kernel)) {
      let offset = 0;
      for (let i = 0; i < tap.length && offset >= 0; i++) {
        const x =
          at(position, i) * at(g.strides, i) + at(tap, i) * at(g.dilations, i) - at(g.begin, i);
        offset = x < 0 || x >= at(g.input, i) ? -1 : offset * at(g.input, i) + x;
      }
      if (offset >= 0) elements.push(offset);
    }
    windows.push(Int32Array.from(elements));
  }
  return windows;
}

/** What the windows along one axis divide by: their elements, with or without the padding among them. */
function axisCounts(g: PoolGeometry, axis: number, countPadding: boolean): number[] {
  const [extent, begin, end] = [at(g.input, axis), at(g.begin, axis), at(g.end, axis)];
  return Array.from({ length: at(g.output, axis) }, (_, o) => {
    let count = 0;
    for (let k = 0; k < at(g.kernel, axis); k++) {
      const x = o * at(g.strides, axis) + k * at(g.dilations, axis) - begin;
      if (countPadding ? x < extent + end : x >= 0 && x < extent) count++;
    }
    return count;
  });
}

/** What each average is divided by, over the output plane. */
export function divisorsOf(g: PoolGeometry, countPadding: boolean): Float64Array {
  const axes = g.output.map((_, axis) => axisCounts(g, axis, countPadding));
  return Float64Array.from(indices(g.output), (position) =>
    position.reduce((product, o, axis) => product * at(at(axes, axis), o), 1),
  );
}
