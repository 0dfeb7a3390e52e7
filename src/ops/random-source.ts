// What draws at random, and what is drawn from. In: a seed of two int32 words, changed from step to step. Out: masks and
// uniform numbers that are a pure function of seed, place and element (counter.ts). Invariant: drawn again in the
// recompute they are the same, bit for bit, so nothing random is ever stored.
//
// RandomUniform, RandomUniformLike and Bernoulli of ONNX itself have a state in the executor, and no value here: the
// step draws through our own steps instead (passes/activate-dropout.ts).

import { DiagnosticError } from '../diagnostics/index.js';
import { Attributes, Tensor, float, int, ints } from '../ir/index.js';
import type { Attribute, Node, TensorType } from '../ir/index.js';
import { outputSize } from './broadcast.js';
import { UNIFORM, randomBits, threshold } from './counter.js';
import { REVNETIFY, defineOp } from './definition.js';
import type { GradientContext, InferContext, OpDefinition, OpSample } from './definition.js';
import { elementCode, elementType } from './element-types.js';
import { zipElements } from './elements.js';

/** Int32 operations per element. */
const DRAW_COST = 4;

const SEED = Tensor.of('int32', [2], [20, 7]);

const drawn = (
  attributes: Attributes,
  seed: Tensor,
): { dims: readonly number[]; bits: Int32Array } => {
  const dims = attributes.ints('shape') ?? [];
  return { dims, bits: randomBits(seed.data, attributes.ints('site') ?? [], dims) };
};

const checkSeed = (ctx: InferContext): void => {
  const { dtype, shape } = ctx.type(0);
  if (dtype !== 'int32' || shape?.length !== 1 || shape[0] !== 2)
    ctx.fail('the seed is not two int32');
};

/** The seed takes the token: what is drawn depends on nothing else. */
const guardSeed: NonNullable<OpDefinition['guard']> = (node, token, b) => {
  const zero = b.op('Cast', [token], {
    attributes: { to: int(elementCode('int32')) },
    name: 'zero',
  });
  node.setInput(0, b.op('Add', [node.input(0), zero], { name: 'token' }));
};

/** The same without `after`, which would have to be recomputed for it. */
const drawAgain: NonNullable<OpDefinition['recompute']> = (node, [seed], b) => [
  b.op(`${node.domain}.${node.op}`, [seed], { attributes: node.attributes }),
];

const drawSamples = (more: Readonly<Record<string, Attribute>>): OpSample[] =>
  (
    [
      ['matrix', [6, 10]],
      ['rank 4', [2, 3, 4, 5]],
      ['one number per sample', [5, 1, 1, 1]],
      ['scalar', []],
    ] as const
  ).map(([label, dims]) => ({
    label,
    inputs: [SEED],
    attributes: new Attributes({ shape: ints(dims), site: ints([123456789, -987654321]), ...more }),
  }));

/**
 * RandomMask(seed, after?; shape, site, keep) → bool, true with probability keep. Stands where `after` is there (the
 * operand that will be masked), but does not depend on its elements.
 */
const randomMask = defineOp({
  type: 'RandomMask',
  domain: REVNETIFY,
  infer: (ctx) => {
    checkSeed(ctx);
    return [{ dtype: 'bool', shape: ctx.attributes.ints('shape') ?? [] }];
  },
  evaluate: (ctx) => {
    const { dims, bits } = drawn(ctx.attributes, ctx.input(0));
    const limit = threshold(ctx.attributes.float('keep', 1));
    return [
      new Tensor(
        'bool',
        dims,
        Float64Array.from(bits, (z) => (z < limit ? 1 : 0)),
      ),
    ];
  },
  nonDifferentiable: true,
  flops: (ctx) => DRAW_COST * outputSize(ctx),
  recompute: drawAgain,
  guard: guardSeed,
  guardAlways: true,
  samples: () => drawSamples({ keep: float(Math.fround(0.7)) }),
});

/** DrawUniform(seed, after?; shape, site, low, high) → float32 in [low, high), on a grid of 2^24. */
const drawUniform = defineOp({
  type: 'DrawUniform',
  domain: REVNETIFY,
  infer: (ctx) => {
    checkSeed(ctx);
    return [{ dtype: 'float32', shape: ctx.attributes.ints('shape') ?? [] }];
  },
  evaluate: (ctx) => {
    const { dims, bits } = drawn(ctx.attributes, ctx.input(0));
    const [low, high] = [ctx.attributes.float('low', 0), ctx.attributes.float('high', 1)];
    const unit = (z: number): number =>
      Math.trunc(z / UNIFORM.divisor) * UNIFORM.scale + UNIFORM.shift;
    return [
      new Tensor(
        'float32',
        dims,
        Float64Array.from(bits, (z) => low + (high - low) * unit(z)),
      ),
    ];
  },
  nonDifferentiable: true,
  flops: (ctx) => (DRAW_COST + 2) * outputSize(ctx),
  recompute: drawAgain,
  guard: guardSeed,
  guardAlways: true,
  samples: () => drawSamples({ low: float(-1), high: float(3) }),
});

/**
 * Masked(X, mask; scale) → scale·X where the mask is true, 0 elsewhere. In a gradient it says so (`again`), so that
 * the mask as numbers is made anew and not kept from the forward pass.
 */
const masked = defineOp({
  type: 'Masked',
  domain: REVNETIFY,
  infer: (ctx) => [ctx.type(0)],
  evaluate: (ctx) => {
    const scale = ctx.attributes.float('scale', 1);
    return [zipElements(ctx.input(0), ctx.input(1), (x, keep) => x * keep * scale)];
  },
  gradient: (ctx: GradientContext) => {
    if (!ctx.wants(0)) return [];
    const attributes = ctx.attributes.with({ again: int(1) });
    return [ctx.b.op('revnetify.Masked', [ctx.grad(), ctx.input(1)], { attributes })];
  },
  flops: (ctx) => 2 * outputSize(ctx),
  keepsShape: true,
  samples: (random) => {
    const mask = Tensor.of(
      'bool',
      [2, 3, 4],
      Array.from({ length: 24 }, () => random.integer(0, 1)),
    );
    return [0, 1].map((again) => ({
      label: again ? 'in a gradient' : 'forward',
      inputs: [random.tensor([2, 3, 4]), mask],
      attributes: new Attributes({ scale: float(1.25), again: int(again) }),
    }));
  },
});

// ---- sources of ONNX itself

const refuse = (node: string): never => {
  throw new DiagnosticError(
    'op/unsupported',
    `a ${node} node`,
    'what it draws is known to the executor alone: the reference cannot compute it',
  );
};

const dtypeOf = (ctx: InferContext, otherwise: TensorType['dtype']): TensorType['dtype'] => {
  const code = ctx.attributes.int('dtype');
  return code === undefined ? otherwise : elementType(code);
};

/** A source whose result has the shape of its operand. */
const sourceLike = (type: string): OpDefinition =>
  defineOp({
    type,
    infer: (ctx) => [{ dtype: dtypeOf(ctx, ctx.type(0).dtype), shape: ctx.type(0).shape }],
    evaluate: () => refuse(type),
    nonDifferentiable: true,
  });

/** A source whose attributes give the shape. */
const source = (type: string): OpDefinition =>
  defineOp({
    type,
    infer: (ctx) => [{ dtype: dtypeOf(ctx, 'float32'), shape: ctx.attributes.ints('shape') }],
    evaluate: () => refuse(type),
    nonDifferentiable: true,
  });

/** Operators of ONNX that draw at random. */
export const RANDOM_SOURCES: ReadonlySet<string> = new Set([
  ...['RandomUniform', 'RandomUniformLike', 'RandomNormal', 'RandomNormalLike', 'Bernoulli'],
]);

/** Whether the node gives another result each time it runs. */
export const drawsAtRandom = (node: Node): boolean =>
  node.domain === '' && (RANDOM_SOURCES.has(node.op) || node.op === 'Dropout');

export const randomOps: readonly OpDefinition[] = [
  randomMask,
  drawUniform,
  masked,
  source('RandomUniform'),
  source('RandomNormal'),
  sourceLike('RandomUniformLike'),
  sourceLike('RandomNormalLike'),
  sourceLike('Bernoulli'),
];
