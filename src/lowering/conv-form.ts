// What the forms of a convolution gradient share: how a form is described and chosen, and the layout steps
// they are written in. In: a geometry with every number known. Out: the form to build. Invariant: for every
// geometry and target at least one form applies, and all forms compute the same.

import { invariant } from '../diagnostics/index.js';
import { int, ints } from '../ir/index.js';
import type { Value } from '../ir/index.js';
import { at } from '../ops/conv-geometry.js';
import type { ConvGeometry } from '../ops/conv-geometry.js';
import type { Builder } from '../ops/index.js';
import { CONV_COSTS } from './conv-costs.js';
import type { FormCosts, Term, Terms } from './conv-terms.js';
import type { Target } from './definition.js';

/** One way to write a gradient. To add one: append it to the list of its gradient, and run `npm run bench:ops -- --write`. */
export interface ConvForm {
  readonly name: string;
  applies(g: ConvGeometry): boolean;
  /** What its time is made of on target cpu; missing where it does not run there. conv-costs.ts weighs each term. */
  readonly terms?: (g: ConvGeometry) => Terms;
  /** Its time on target portable, in multiply-adds: estimated, not measured. Missing where it does not run there. */
  readonly estimate?: (g: ConvGeometry) => number;
  /** `first` is W for dX and X for dW. */
  build(steps: Steps, g: ConvGeometry, first: Value, dY: Value): Value;
}

/** Nanoseconds by the coefficients of one form. */
export function weigh(terms: Terms, coefficients: Terms | undefined): number {
  let sum = 0;
  for (const [term, count] of Object.entries(terms) as [Term, number][])
    sum += count * (coefficients?.[term] ?? NaN);
  return sum;
}

/**
 * What orders the forms of one gradient on a target, in units of its own.
 * @returns undefined where the form does not run there
 */
function costOf(
  form: ConvForm,
  target: Target,
  g: ConvGeometry,
  costs: FormCosts,
): number | undefined {
  if (target === 'portable') return form.estimate?.(g);
  if (!form.terms) return undefined;
  const cost = weigh(form.terms(g), costs[form.name]);
  invariant(
    !Number.isNaN(cost),
    `form ${form.name} has no coefficients: npm run bench:ops -- --write`,
  );
  return cost;
}

/** The cheapest form that applies; the earlier one of equals. @param costs of target cpu */
export function chooseForm(
  forms: readonly ConvForm[],
  target: Target,
  g: ConvGeometry,
  costs: FormCosts = CONV_COSTS.forms,
): ConvForm {
  let best: ConvForm | undefined;
  let least = Infinity;
  for (const form of forms) {
    const cost = form.applies(g) ? costOf(form, target, g, costs) : undefined;
    if (cost === undefined) continue;
    if (!best || cost < least) [best, least] = [form, cost];
  }
  invariant(best, `no form of a convolution gradient applies for target ${target}`);
  return best;
}

/** Consecutive integers from `first`. */
export const range = (first: number, count: number): number[] =>
  Array.from({ length: count }, (_, i) => first + i);

/** [M, C/g, k…] */
export const weightShape = (g: ConvGeometry): number[] => [
  g.outChannels,
  g.inChannels / g.group,
  ...g.kernel,
];

/** How much of the end of each axis the windows read beyond the data; negative where they stop short of it. */
export const endReach = (g: ConvGeometry): number[] =>
  g.input.map(
    (extent, i) =>
      at(g.strides, i) * (at(g.output, i) - 1) +
      at(g.dilations, i) * (at(g.kernel, i) - 1) +
      1 -
      at(g.begin, i) -
      extent,
  );

export const isPointwise = (g: ConvGeometry): boolean =>
  [...g.begin, ...g.end].every((p) => p === 0) && g.kernel.every((k) => k === 1);

/** Windows of a Conv or ConvTranspose to build. */
export interface ConvOptions {
  readonly kernel: readonly number[];
  readonly strides?: readonly number[];
  readonly dilations?: readonly number[];
  readonly begin: readonly number[];
  readonly end: readonly number[];
  readonly group: number;
  readonly outputPadding?: readonly number[];
}

export interface SliceRange {
  readonly axis: number;
  readonly start: number;
  readonly end: number;
  readonly step?: number;
}

/** Layout steps that leave out what would do nothing. Shapes are static throughout. */
export class Steps {
  constructor(readonly b: Builder) {}

  shape(value: Value): readonly number[] {
    return (value.shape ?? []).map((d) => {
      invariant(typeof d === 'number', `${value.name} has no static shape`);
      return d;
    });
  }

  reshape(value: Value, dims: readonly number[]): Value {
    const own = this.shape(value);
    if (own.length === dims.length && own.every((d, i) => d === dims[i])) return value;
    return this.b.op('Reshape', [value, this.b.ints(...dims)]);
  }

  /** Transpose; a Reshape where only axes of extent 1 move. */
  transpose(value: Value, perm: readonly number[]): Value {
    const own = this.shape(value);
    const moving = perm.filter((axis) => own[axis] !== 1);
    if (moving.every((axis, i) => i === 0 || axis > at(moving, i - 1)))
      return this.reshape(
        value,
        perm.map((axis) => at(own, axis)),
      );
    return this.b.op('Transpose', [value], { attributes: { perm: ints(perm) } });
  }

  slice(value: Value, ranges: readonly SliceRange[]): Value {
    const own = this.shape(value);
    const real = ranges.filter(
      (r) => r.start !== 0 || r.end < at(own, r.axis) || ((r.step ?? 1) !== 1 && own[r.axis] !== 1),
    );
    if (real.length === 0) return value;
    const list = (read: (r: SliceRange) => number): Value => this.b.ints(...real.map(read));
    return this.b.op('Slice', [
      value,
      list((r) => r.start),
      list((r) => r.end),
      list((r) => r.axis),
      list((r) => r.step ?? 1),
    ]);
  }

  /** Reverses axes. */
  flip(value: Value, axes: readonly number[]): Value {
    const own = this.shape(value);
    const real = axes.filter((axis) => own[axis] !== 1);
    if (real.length === 0) return value;
    const list = (read: (axis: number) => number): Value => this.b.ints(...real.map(read));
    return this.b.op('Slice', [
      value,
      list(() => -1),
      // One before the first element: −1 alone would mean the last one.
      list((axis) => -at(own, axis) - 1),
      list((axis) => axis),
      list(() => -1),
    ]);
  }

  /** Zeros around the spatial axes, which begin at axis `first`; negative pads count as none. */
  pad(value: Value, begin: readonly number[], end: readonly number[], first = 2): Value {
    const own = this.shape(value);
    const side = (list: readonly number[]): number[] =>
      own.map((_, axis) => Math.max(0, list[axis - first] ?? 0));
    const pads = [...side(begin), ...side(end)];
    if (pads.every((p) => p === 0)) return value;
    return this.b.op('Pad', [value, this.b.ints(...pads)]);
  }

  sum(value: Value, axes: readonly number[], keep = false): Value {
    return this.b.op('ReduceSum', [value, this.b.ints(...axes)], {
      attributes: { keepdims: int(keep ? 1 : 0) },
    });
  }

  /** Sum over axis 0, which a Reshape does where its extent is 1. */
  sumFirst(value: Value): Value {
    const own = this.shape(value);
    return own[0] === 1 ? this.reshape(value, own.slice(1)) : this.sum(value, [0]);
  }

  conv(x: Value, w: Value, options: ConvOptions, op: 'Conv' | 'ConvTranspose' = 'Conv'): Value {
    const { kernel, strides, dilations, begin, end, group, outputPadding } = options;
    const one = kernel.map(() => 1);
    return this.b.op(op, [x, w], {
      attributes: {
        kernel_shape: ints(kernel),
        strides: ints(strides ?? one),
        dilations: ints(dilations ?? one),
        pads: ints([...begin, ...end]),
        group: int(group),
        output_padding: outputPadding?.some((p) => p > 0) ? ints(outputPadding) : undefined,
      },
    });
  }

  matmul(a: Value, b: Value): Value {
    return this.b.op('MatMul', [a, b]);
  }

  /** A · Bᵀ of two matrices. */
  timesTransposed(a: Value, b: Value): Value {
    return this.b.op('Gemm', [a, b], { attributes: { transB: int(1) } });
  }
}
