// Gradients of a convolution as ai.onnx nodes. In: ConvGradInput(W, dY), ConvGradWeight(X, dY). Out: dX, dW.
// Invariant: each form gives what the loops of src/ops/conv-kernels.ts give; the list of dX forms is here,
// that of dW forms in conv-weight.ts, and every window has a form on every target.

import { elementCount } from '../ir/index.js';
import type { ConvGeometry } from '../ops/conv-geometry.js';
import { at } from '../ops/conv-geometry.js';
import { gradGeometry } from '../ops/conv-gradient.js';
import { Steps, chooseForm, isPointwise } from './conv-form.js';
import type { ConvForm } from './conv-form.js';
import { MOVE, convolutions, products, sizesOf } from './conv-terms.js';
import { WEIGHT_FORMS } from './conv-weight.js';
import { defineLowering } from './definition.js';
import type { LowerContext, Lowering, LowerRule, Target } from './definition.js';

/** Pads of the convolution that undoes one of stride 1: what the window sticks out, less what was padded. */
const flippedPads = (g: ConvGeometry, pads: readonly number[]): number[] =>
  pads.map((p, i) => at(g.dilations, i) * (at(g.kernel, i) - 1) - p);

/**
 * Stride 1: a convolution of dY with the weight flipped in space and its channels swapped. Pads larger than
 * the window would need a crop, which ConvTranspose does for free.
 */
const flipped: ConvForm = {
  name: 'flipped',
  applies: (g) =>
    g.strides.every((s) => s === 1) &&
    [...flippedPads(g, g.begin), ...flippedPads(g, g.end)].every((p) => p >= 0),
  terms(g) {
    const { w } = sizesOf(g);
    const taps = elementCount(g.kernel);
    return {
      ...convolutions(
        g.batch * g.group,
        [g.inChannels / g.group, (g.outChannels / g.group) * taps, elementCount(g.input)],
        isPointwise(g) ? 0 : (g.input.at(-1) ?? 1),
      ),
      // The reversing Slice goes element by element: it is what makes large weights slow.
      reversed: taps > 1 ? w : 0,
      moved: w,
      kernels: 3,
    };
  },
  estimate(g) {
    const { w, work } = sizesOf(g);
    return work + MOVE * w * 2;
  },
  build(steps, g, w, dY) {
    const spatial = g.kernel.map((_, i) => i + 2);
    const perOut = g.outChannels / g.group;
    const perIn = g.inChannels / g.group;
    const swapped =
      g.group === 1
        ? steps.transpose(w, [1, 0, ...spatial])
        : steps.reshape(
            steps.transpose(steps.reshape(w, [g.group, perOut, perIn, ...g.kernel]), [
              0,
              2,
              1,
              ...spatial.map((axis) => axis + 1),
            ]),
            [g.inChannels, perOut, ...g.kernel],
          );
    return steps.conv(dY, steps.flip(swapped, spatial), {
      kernel: g.kernel,
      dilations: g.dilations,
      begin: flippedPads(g, g.begin),
      end: flippedPads(g, g.end),
      group: g.group,
    });
  },
};

/** Any window: ConvTranspose; output_padding gives back the rows that the stride rounded away. */
const transposed: ConvForm = {
  name: 'transposed',
  applies: () => true,
  terms(g) {
    const { x, seen, w } = sizesOf(g);
    const taps = elementCount(g.kernel);
    const rows = (g.inChannels / g.group) * taps;
    return {
      ...products(g.batch * g.group, [rows, g.outChannels / g.group, elementCount(g.output)]),
      columns: seen * taps,
      // Each product transposes the weight on its way.
      turned: g.batch * w,
      moved: x,
      kernels: 1,
    };
  },
  // GPU kernels gather per element.
  estimate: (g) => 4 * sizesOf(g).work,
  build(steps, g, w, dY) {
    const outputPadding = g.input.map((extent, i) => {
      const window = at(g.dilations, i) * (at(g.kernel, i) - 1) + 1;
      const natural =
        at(g.strides, i) * (at(g.output, i) - 1) + window - at(g.begin, i) - at(g.end, i);
      return extent - natural;
    });
    return steps.conv(
      dY,
      w,
      {
        kernel: g.kernel,
        strides: g.strides,
        dilations: g.dilations,
        begin: g.begin,
        end: g.end,
        group: g.group,
        outputPadding,
      },
      'ConvTranspose',
    );
  },
};

/** Forms of dX. */
export const INPUT_FORMS: readonly ConvForm[] = [flipped, transposed];

/** Geometry of a ConvGradInput or ConvGradWeight node. */
function nodeGeometry(ctx: LowerContext): ConvGeometry {
  return ctx.node.op === 'ConvGradInput'
    ? gradGeometry(ctx.attributes, ctx.outputShape(), ctx.shape(0), ctx.shape(1))
    : gradGeometry(ctx.attributes, ctx.shape(0), ctx.outputShape(), ctx.shape(1));
}

function rule(forms: readonly ConvForm[], target: Target): LowerRule {
  /** By geometry: a deep network has a handful of them, hundreds of times each. */
  const chosen = new Map<string, ConvForm>();
  return (ctx) => {
    const g = nodeGeometry(ctx);
    const key = JSON.stringify(g);
    const form = chosen.get(key) ?? chooseForm(forms, target, g);
    chosen.set(key, form);
    return [form.build(new Steps(ctx.b), g, ctx.input(0), ctx.input(1))];
  };
}

const lowering = (type: string, forms: readonly ConvForm[]): Lowering =>
  defineLowering({
    type,
    rules: { cpu: rule(forms, 'cpu'), portable: rule(forms, 'portable') },
  });

export const convLowerings: readonly Lowering[] = [
  lowering('ConvGradInput', INPUT_FORMS),
  lowering('ConvGradWeight', WEIGHT_FORMS),
];
