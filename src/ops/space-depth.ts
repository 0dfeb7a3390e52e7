// Pixels into channels and back: DepthToSpace, SpaceToDepth. In: X [N,C,H,W]. Out: the same elements with blocks of
// blocksize x blocksize pixels as channels of one pixel, or the reverse. Invariant: each is a Reshape, a Transpose and a
// Reshape, which is also how their gradients are built.

import { Attributes, int, ints, string } from '../ir/index.js';
import type { Dim, Value } from '../ir/index.js';
import { inAxis, outAxis } from './axes.js';
import { defineOp } from './definition.js';
import type { GradientContext, InferContext, OpDefinition, OpSample } from './definition.js';
import { divideDims, multiplyDims } from './dims.js';
import { permute } from './elements.js';
import { knownShape } from './gradient-parts.js';
import type { Random } from './random.js';

const blockOf = (attributes: Attributes): number => attributes.int('blocksize', 1);

const image = (ctx: InferContext): [Dim, Dim, Dim, Dim] => {
  const [n, c, h, w, ...more] = ctx.shape(0);
  if (n === undefined || c === undefined || h === undefined || w === undefined || more.length > 0)
    return ctx.fail(`X has rank ${ctx.shape(0).length}, not 4`);
  return [n, c, h, w];
};

/** A dimension over a number; refused where that leaves a rest. */
function over(ctx: InferContext, dim: Dim, divisor: number, what: string): Dim {
  const quotient = divideDims(dim, divisor);
  if (quotient === undefined && typeof dim === 'number')
    ctx.fail(`its ${what} (${dim}) is no multiple of ${divisor}`);
  return quotient ?? ctx.fresh();
}

/** X [N,C,H,W] seen as the axes that DepthToSpace moves, and their order in the result [N,c,H,b,W,b]. */
function depthToSpacePlan(
  attributes: Attributes,
  [n = 0, c = 0, h = 0, w = 0]: readonly number[],
): { split: number[]; perm: number[]; result: number[] } {
  const b = blockOf(attributes);
  const channels = c / (b * b);
  const crd = attributes.string('mode', 'DCR') === 'CRD';
  return {
    split: crd ? [n, channels, b, b, h, w] : [n, b, b, channels, h, w],
    perm: crd ? [0, 1, 4, 2, 5, 3] : [0, 3, 4, 1, 5, 2],
    result: [n, channels, h * b, w * b],
  };
}

function spaceToDepthPlan(
  attributes: Attributes,
  [n = 0, c = 0, h = 0, w = 0]: readonly number[],
): { split: number[]; perm: number[]; result: number[] } {
  const b = blockOf(attributes);
  return {
    split: [n, c, h / b, b, w / b, b],
    perm: [0, 3, 5, 1, 2, 4],
    result: [n, c * b * b, h / b, w / b],
  };
}

type Plan = typeof depthToSpacePlan;

/** The elements of dY where they came from. */
function movedBack(ctx: GradientContext, plan: Plan): Value {
  const { b } = ctx;
  const dims = knownShape(ctx.node, ctx.input(0));
  const { split, perm } = plan(ctx.attributes, dims);
  const moved = b.op('Reshape', [ctx.grad(), b.ints(...perm.map((p) => split[p] ?? 0))]);
  const back = perm.map((_, i) => perm.indexOf(i));
  const restored = b.op('Transpose', [moved], { attributes: { perm: ints(back) } });
  return b.op('Reshape', [restored, b.ints(...dims)]);
}

const mover = (
  type: string,
  plan: Plan,
  infer: (ctx: InferContext, block: number) => Dim[],
  samples: (random: Random) => OpSample[],
): OpDefinition =>
  defineOp({
    type,
    infer: (ctx) => [{ dtype: ctx.type(0).dtype, shape: infer(ctx, blockOf(ctx.attributes)) }],
    evaluate: (ctx) => {
      const x = ctx.input(0);
      const { split, perm, result } = plan(ctx.attributes, x.dims);
      return [permute(x.reshape(split), perm).reshape(result)];
    },
    gradient: (ctx) => [ctx.wants(0) ? movedBack(ctx, plan) : undefined],
    // Channels become several pixels: their number is not free.
    axes: () => [{ axes: [inAxis(0, 0), outAxis(0)] }],
    samples,
  });

const depthToSpace = mover(
  'DepthToSpace',
  depthToSpacePlan,
  (ctx, block) => {
    const mode = ctx.attributes.string('mode', 'DCR');
    if (mode !== 'DCR' && mode !== 'CRD') ctx.fail(`its mode is ${mode}`);
    const [n, c, h, w] = image(ctx);
    const channels = over(ctx, c, block * block, 'number of channels');
    return [n, channels, multiplyDims([h, block]), multiplyDims([w, block])];
  },
  (random) =>
    ['DCR', 'CRD', undefined].map((mode) => ({
      label: mode ?? 'mode left out, blocks of 3',
      inputs: [mode ? random.tensor([2, 8, 2, 3]) : random.tensor([1, 18, 2, 1])],
      attributes: new Attributes({
        blocksize: int(mode ? 2 : 3),
        ...(mode ? { mode: string(mode) } : {}),
      }),
    })),
);

const spaceToDepth = mover(
  'SpaceToDepth',
  spaceToDepthPlan,
  (ctx, block) => {
    const [n, c, h, w] = image(ctx);
    return [
      n,
      multiplyDims([c, block * block]),
      over(ctx, h, block, 'height'),
      over(ctx, w, block, 'width'),
    ];
  },
  (random) => [
    {
      label: 'blocks of 2',
      inputs: [random.tensor([2, 3, 4, 6])],
      attributes: new Attributes({ blocksize: int(2) }),
    },
    {
      label: 'blocks of 3',
      inputs: [random.tensor([1, 2, 3, 6])],
      attributes: new Attributes({ blocksize: int(3) }),
    },
  ],
);

export const spaceDepthOps: readonly OpDefinition[] = [depthToSpace, spaceToDepth];
