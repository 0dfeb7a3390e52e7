// The arithmetic of convolution windows, shared by Conv, ConvTranspose and their gradients. In: attributes
// and extents. Out: strides, pads and extents as numbers, and for every kernel tap the runs of elements it
// pairs. Invariant: input index = stride · output index + dilation · tap − pad, for all four operators.

import { DiagnosticError } from '../diagnostics/index.js';
import { elementCount } from '../ir/index.js';
import type { Attributes, Dim } from '../ir/index.js';

/** Strides, dilations and pads with defaults filled in; one entry per spatial axis. */
export interface Window {
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  readonly begin: readonly number[];
  readonly end: readonly number[];
}

/** A convolution with every number known. `input` and `output` are spatial extents. */
export interface ConvGeometry extends Window {
  readonly batch: number;
  readonly group: number;
  readonly inChannels: number;
  readonly outChannels: number;
  readonly kernel: readonly number[];
  readonly input: readonly number[];
  readonly output: readonly number[];
}

/** Entry of a list whose length is known to fit. */
export const at = <T>(list: readonly T[], index: number): T => {
  const entry = list[index];
  if (entry === undefined) throw new Error(`internal error: no entry ${index}`);
  return entry;
};

/** Extent a dilated kernel covers. */
export const reach = (kernel: number, dilation: number): number => dilation * (kernel - 1) + 1;

/** A list attribute with `length` entries. @throws DiagnosticError model/invalid */
export function listOf(
  attributes: Attributes,
  name: string,
  length: number,
  fallback: number,
): readonly number[] {
  const list = attributes.ints(name) ?? new Array<number>(length).fill(fallback);
  if (list.length !== length)
    throw new DiagnosticError(
      'model/invalid',
      `attribute ${name}`,
      `it has ${list.length} entries where ${length} are needed`,
    );
  return list;
}

export const stridesOf = (attributes: Attributes, rank: number): readonly number[] =>
  listOf(attributes, 'strides', rank, 1);

export const dilationsOf = (attributes: Attributes, rank: number): readonly number[] =>
  listOf(attributes, 'dilations', rank, 1);

/** The `pads` attribute as (begin, end); zeros where it is left out. */
export function padsOf(attributes: Attributes, rank: number): Pick<Window, 'begin' | 'end'> {
  const pads = listOf(attributes, 'pads', 2 * rank, 0);
  return { begin: pads.slice(0, rank), end: pads.slice(rank) };
}

export interface ResolvedConv {
  readonly strides: readonly number[];
  readonly dilations: readonly number[];
  /** Begin and end of each axis; undefined where a SAME pad depends on an unknown extent. */
  readonly begin: readonly (number | undefined)[];
  readonly end: readonly (number | undefined)[];
  /** Spatial extents of the result; undefined where an unknown extent does not pass through. */
  readonly output: readonly (Dim | undefined)[];
}

/** Windows of a Conv over `input`; `kernel` in elements. */
export function resolveConv(
  attributes: Attributes,
  input: readonly Dim[],
  kernel: readonly number[],
): ResolvedConv {
  const rank = kernel.length;
  const strides = stridesOf(attributes, rank);
  const dilations = dilationsOf(attributes, rank);
  const autoPad = attributes.string('auto_pad', 'NOTSET');
  const begin: (number | undefined)[] = [];
  const end: (number | undefined)[] = [];
  const output: (Dim | undefined)[] = [];
  const explicit =
    autoPad === 'VALID'
      ? { begin: kernel.map(() => 0), end: kernel.map(() => 0) }
      : padsOf(attributes, rank);
  for (let i = 0; i < rank; i++) {
    const extent = at(input, i);
    const stride = at(strides, i);
    const window = reach(at(kernel, i), at(dilations, i));
    if (autoPad.startsWith('SAME')) {
      // With stride 1 the pad does not depend on the extent, so an unknown one passes through.
      const size = typeof extent === 'number' ? Math.ceil(extent / stride) : undefined;
      const total =
        size !== undefined && typeof extent === 'number'
          ? Math.max(0, (size - 1) * stride + window - extent)
          : stride === 1
            ? window - 1
            : undefined;
      const small = total === undefined ? undefined : Math.floor(total / 2);
      const large = total === undefined ? undefined : Math.ceil(total / 2);
      begin.push(autoPad === 'SAME_LOWER' ? large : small);
      end.push(autoPad === 'SAME_LOWER' ? small : large);
      output.push(size ?? (stride === 1 ? extent : undefined));
    } else {
      const pads = at(explicit.begin, i) + at(explicit.end, i);
      begin.push(explicit.begin[i]);
      end.push(explicit.end[i]);
      output.push(
        typeof extent === 'number'
          ? Math.floor((extent + pads - window) / stride) + 1
          : stride === 1 && pads === window - 1
            ? extent
            : undefined,
      );
    }
  }
  return { strides, dilations, begin, end, output };
}

/** Windows of a ConvTranspose; `output` holds its (large) extents. */
export function resolveConvTranspose(
  attributes: Attributes,
  input: readonly Dim[],
  kernel: readonly number[],
): ResolvedConv {
  const rank = kernel.length;
  const strides = stridesOf(attributes, rank);
  const dilations = dilationsOf(attributes, rank);
  const autoPad = attributes.string('auto_pad', 'NOTSET');
  const extra = attributes.ints('output_padding') ?? kernel.map(() => 0);
  const wanted = attributes.ints('output_shape')?.slice(-rank);
  const explicit = padsOf(attributes, rank);
  const begin: (number | undefined)[] = [];
  const end: (number | undefined)[] = [];
  const output: (Dim | undefined)[] = [];
  for (let i = 0; i < rank; i++) {
    const extent = at(input, i);
    const stride = at(strides, i);
    const rest = at(extra, i) + reach(at(kernel, i), at(dilations, i));
    const same = autoPad.startsWith('SAME');
    if (wanted || same) {
      const known = typeof extent === 'number';
      const size = wanted?.[i] ?? (known ? extent * stride : stride === 1 ? extent : undefined);
      const full = known ? stride * (extent - 1) + rest : undefined;
      const total =
        full !== undefined && typeof size === 'number'
          ? Math.max(0, full - size)
          : same
            ? Math.max(0, rest - stride)
            : undefined;
      const small = total === undefined ? undefined : Math.floor(total / 2);
      const large = total === undefined ? undefined : Math.ceil(total / 2);
      begin.push(autoPad === 'SAME_UPPER' ? small : large);
      end.push(autoPad === 'SAME_UPPER' ? large : small);
      output.push(size);
    } else {
      const valid = autoPad === 'VALID';
      const pads = valid ? 0 : at(explicit.begin, i) + at(explicit.end, i);
      begin.push(valid ? 0 : explicit.begin[i]);
      end.push(valid ? 0 : explicit.end[i]);
      output.push(
        typeof extent === 'number'
          ? stride * (extent - 1) + rest - pads
          : stride === 1 && rest - pads === 1
            ? extent
            : undefined,
      );
    }
  }
  return { strides, dilations, begin, end, output };
}

/** The element pairs of one kernel tap: (output offset, input offset, length) triples. */
type TapRuns = Int32Array;

/** What the loops of all four operators walk over: per tap the runs along the last axis. */
export interface Runs {
  readonly taps: readonly TapRuns[];
  /** Step of the input offset inside a run (the last stride). */
  readonly step: number;
  readonly inputSize: number;
  readonly outputSize: number;
}

/** Elements that each kernel tap pairs, clipped at the borders; adjacent rows are merged. */
export function convRuns(g: Omit<ConvGeometry, 'batch' | 'group'>): Runs {
  const rank = g.kernel.length;
  const last = rank - 1;
  const step = at(g.strides, last);
  const rowLength = at(g.output, last);
  const rows = elementCount(g.output.slice(0, last));
  const taps: TapRuns[] = [];
  const tap = new Array<number>(rank).fill(0);
  const position = new Array<number>(rank).fill(0);
  for (let t = elementCount(g.kernel); t > 0; t--) {
    const shift = tap.map((v, i) => v * at(g.dilations, i) - at(g.begin, i));
    const lastShift = at(shift, last);
    const width = at(g.input, last);
    const low = Math.max(0, Math.ceil(-lastShift / step));
    const high = Math.min(rowLength, Math.floor((width - 1 - lastShift) / step) + 1);
    const runs: number[] = [];
    position.fill(0);
    for (let row = 0; row < rows && high > low; row++) {
      let base = 0;
      for (let i = 0; i < last && base >= 0; i++) {
        const index = at(position, i) * at(g.strides, i) + at(shift, i);
        const extent = at(g.input, i);
        base = index < 0 || index >= extent ? -1 : base * extent + index;
      }
      if (base >= 0)
        append(runs, row * rowLength + low, base * width + low * step + lastShift, high - low);
      increment(position, g.output, last);
    }
    if (step !== 1) taps.push(Int32Array.from(runs));
    else taps.push(merge(runs));
    increment(tap, g.kernel, rank);
  }
  return {
    taps,
    step,
    inputSize: elementCount(g.input),
    outputSize: elementCount(g.output),
  };
}

const append = (runs: number[], output: number, input: number, length: number): void => {
  runs.push(output, input, length);
};

/** Joins runs that continue each other on both sides (whole planes for 1x1 kernels). */
function merge(runs: readonly number[]): TapRuns {
  const merged: number[] = [];
  for (let i = 0; i < runs.length; i += 3) {
    const [output, input, length] = [at(runs, i), at(runs, i + 1), at(runs, i + 2)];
    const j = merged.length - 3;
    if (j >= 0) {
      const before = at(merged, j + 2);
      if (at(merged, j) + before === output && at(merged, j + 1) + before === input) {
        merged[j + 2] = before + length;
        continue;
      }
    }
    merged.push(output, input, length);
  }
  return Int32Array.from(merged);
}

/** Next index of the first `axes` axes in row-major order. */
function increment(index: number[], extents: readonly number[], axes: number): void {
  for (let i = axes - 1; i >= 0; i--) {
    const next = at(index, i) + 1;
    if (next < at(extents, i)) {
      index[i] = next;
      return;
    }
    index[i] = 0;
  }
}
