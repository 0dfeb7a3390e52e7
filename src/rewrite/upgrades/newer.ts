// Opsets above the working one, taken back where the newer form says nothing new: axes that are constant,
// attributes at their defaults, functions that can be written out. Everything else is refused by name.

import { Tensor, int, ints, string } from '../../ir/index.js';
import { elementCode } from '../../ops/index.js';
import type { Change, Conversion } from './conversion.js';
import { down } from './conversion.js';

/** Operators that the working opset does not have, and the opset that brought them. */
export const INTRODUCED: Readonly<Record<string, number>> = {
  BitwiseAnd: 18,
  BitwiseNot: 18,
  BitwiseOr: 18,
  BitwiseXor: 18,
  CenterCropPad: 18,
  Col2Im: 18,
  GroupNormalization: 18,
  Mish: 18,
  DeformConv: 19,
  AffineGrid: 20,
  Gelu: 20,
  ImageDecoder: 20,
  RegexFullMatch: 20,
  StringConcat: 20,
  StringSplit: 20,
  Attention: 23,
  RMSNormalization: 23,
  RotaryEmbedding: 23,
  Swish: 24,
  TensorScatter: 24,
};

/** Removes an attribute that must have its default. */
function only(c: Conversion, name: string, plain: number | string | readonly number[]): void {
  const attribute = c.node.attributes.get(name);
  if (!attribute) return;
  if (JSON.stringify(attribute.value) !== JSON.stringify(plain))
    c.fail(`${name}=${String(attribute.value)} is newer than opset 17`);
  c.attributes({ [name]: undefined });
}

const REDUCTIONS = ['ReduceMax', 'ReduceMean', 'ReduceMin', 'ReduceProd'];
const OTHER_REDUCTIONS = [
  'ReduceL1',
  'ReduceL2',
  'ReduceLogSum',
  'ReduceLogSumExp',
  'ReduceSumSquare',
];

/** Axes of a reduction: an operand since 18. */
const reductions = down(18, [...REDUCTIONS, ...OTHER_REDUCTIONS], (c) => {
  const axes = c.has(1) ? c.numbers(1) : [];
  if (!axes) return c.fail('its axes are computed');
  if (axes.length === 0 && c.node.attributes.int('noop_with_empty_axes', 0) === 1) {
    if (!REDUCTIONS.includes(c.node.op)) c.fail('it reduces no axes');
    c.become('Identity', [c.node.input(0)]);
    return;
  }
  c.node.truncateInputs(1);
  c.attributes({
    noop_with_empty_axes: undefined,
    axes: axes.length > 0 ? ints(axes) : undefined,
  });
});

/** Extremes of booleans came with opset 20: those of the integers 0 and 1. */
const booleanExtremes = down(20, ['ReduceMax', 'ReduceMin'], (c) => {
  if (c.node.inputs[0]?.type?.dtype !== 'bool') return;
  const numbers = c.before('Cast', [c.node.input(0)], { to: int(elementCode('int32')) }, 'numbers');
  const attributes = Object.fromEntries(c.node.attributes.entries());
  const extreme = c.before(c.node.op, [numbers], attributes, 'extreme');
  c.become('Cast', [extreme], { to: int(elementCode('bool')) });
});

/** The number of parts is that of the outputs; uneven parts have to be named. */
const split = down(18, ['Split'], (c) => {
  const count = c.node.attributes.int('num_outputs');
  c.attributes({ num_outputs: undefined });
  const shape = c.node.inputs[0]?.shape;
  if (count === undefined || !shape) return;
  const axis = c.node.attributes.int('axis', 0);
  const extent = shape[axis < 0 ? axis + shape.length : axis];
  if (typeof extent !== 'number' || extent % count === 0) return;
  const each = Math.ceil(extent / count);
  c.ints(
    1,
    Array.from({ length: count }, (_, i) => Math.min(each, extent - i * each)),
    'split',
  );
});

const fromFront = (axis: number, rank: number): number => (axis < 0 ? axis + rank : axis);

/** Pads for some axes only, since 18. */
const pad = down(18, ['Pad'], (c) => {
  if (c.node.attributes.string('mode', 'constant') === 'wrap')
    c.fail('mode=wrap is newer than opset 17');
  if (!c.has(3)) return;
  const [pads, axes, { rank }] = [c.numbers(1), c.numbers(3), c];
  if (!pads || !axes || rank === undefined) return c.fail('its pads or axes are computed');
  const all = new Array<number>(2 * rank).fill(0);
  axes.forEach((axis, i) => {
    all[fromFront(axis, rank)] = pads[i] ?? 0;
    all[fromFront(axis, rank) + rank] = pads[i + axes.length] ?? 0;
  });
  c.ints(1, all, 'pads');
  c.node.truncateInputs(3);
});

/** Scales or sizes for some axes only, since 18. */
const resize = down(18, ['Resize'], (c) => {
  only(c, 'antialias', 0);
  only(c, 'keep_aspect_ratio_policy', 'stretch');
  if (c.node.attributes.string('coordinate_transformation_mode', '') === 'half_pixel_symmetric')
    c.fail('half_pixel_symmetric is newer than opset 17');
  const axes = c.node.attributes.ints('axes');
  if (!axes) return;
  const shape = c.node.inputs[0]?.shape;
  if (!shape || c.node.inputs[1]?.shape?.[0] !== undefined)
    return c.fail('it names axes, and the rank is not known or a region is given');
  const places = axes.map((axis) => fromFront(axis, shape.length));
  const scales = c.node.inputs[2]?.constant?.load().toArray();
  const sizes = c.numbers(3);
  if (scales && scales.length > 0) {
    const all = shape.map((_, i) => scales[places.indexOf(i)] ?? 1);
    c.floats(2, all, 'scales');
  } else if (sizes) {
    const all = shape.map((d, i) => sizes[places.indexOf(i)] ?? d);
    c.ints(
      3,
      all.map((d) => (typeof d === 'number' ? d : c.fail('a size is not known'))),
      'sizes',
    );
  } else c.fail('it names axes, and its scales and sizes are computed');
  c.attributes({ axes: undefined });
});

const scatter = down(18, ['ScatterElements', 'ScatterND'], (c) => {
  const reduction = c.node.attributes.string('reduction', 'none');
  if (reduction === 'max' || reduction === 'min')
    c.fail(`reduction=${reduction} is newer than opset 17`);
});

/** An attribute of zeros or ones of any length. */
function onlyAll(c: Conversion, name: string, plain: number): void {
  const values = c.node.attributes.ints(name);
  if (values?.some((v) => v !== plain))
    c.fail(`${name}=${values.join(',')} is newer than opset 17`);
  c.attributes({ [name]: undefined });
}

const averagePool = down(19, ['AveragePool'], (c) => onlyAll(c, 'dilations', 1));

const lpPool = down(18, ['LpPool'], (c) => {
  onlyAll(c, 'dilations', 1);
  only(c, 'ceil_mode', 0);
});

/** These only say how a float8 is rounded. */
const cast = down(19, ['Cast', 'CastLike'], (c) =>
  c.attributes({ saturate: undefined, round_mode: undefined }),
);

const quantized = down(19, ['QuantizeLinear', 'DequantizeLinear'], (c) => {
  only(c, 'block_size', 0);
  only(c, 'output_dtype', 0);
  only(c, 'precision', 0);
  c.attributes({ saturate: undefined });
});

/** The interpolation modes were renamed. */
const gridSample = down(20, ['GridSample'], (c) => {
  const names: Readonly<Record<string, string>> = { linear: 'bilinear', cubic: 'bicubic' };
  const mode = c.node.attributes.string('mode', 'linear');
  c.attributes({ mode: string(names[mode] ?? mode) });
});

const dft = down(20, ['DFT'], (c) => c.fail('DFT takes its axis as an operand since opset 20'));

/** x/2·(1 + erf(x/√2)), or its approximation by a hyperbolic tangent. */
const gelu = down(20, ['Gelu'], (c) => {
  const x = c.node.input(0);
  const number = (value: number): ReturnType<Conversion['constant']> =>
    c.constant(Tensor.scalar(value, c.dtype), 'factor');
  const half = c.before('Mul', [x, number(0.5)], {}, 'half');
  let bend;
  if (c.node.attributes.string('approximate', 'none') === 'tanh') {
    const square = c.before('Mul', [x, x], {}, 'square');
    const inner = c.before('Mul', [square, number(0.044715)], {}, 'inner');
    const shifted = c.before('Add', [inner, number(1)], {}, 'shifted');
    const scaled = c.before('Mul', [x, number(Math.sqrt(2 / Math.PI))], {}, 'scaled');
    bend = c.before('Tanh', [c.before('Mul', [scaled, shifted], {}, 'argument')]);
  } else bend = c.before('Erf', [c.before('Mul', [x, number(Math.SQRT1_2)], {}, 'argument')]);
  c.become('Mul', [half, c.before('Add', [bend, number(1)], {}, 'gate')]);
});

const mish = down(18, ['Mish'], (c) => {
  const x = c.node.input(0);
  c.become('Mul', [x, c.before('Tanh', [c.before('Softplus', [x])])]);
});

const swish = down(24, ['Swish'], (c) => {
  const x = c.node.input(0);
  const alpha = c.node.attributes.float('alpha', 1);
  const scaled =
    alpha === 1 ? x : c.before('Mul', [x, c.constant(Tensor.scalar(alpha, c.dtype), 'alpha')]);
  c.become('Mul', [x, c.before('Sigmoid', [scaled])]);
});

export const newerChanges: readonly Change[] = [
  reductions,
  booleanExtremes,
  split,
  pad,
  resize,
  scatter,
  averagePool,
  lpPool,
  cast,
  quantized,
  gridSample,
  dft,
  gelu,
  mish,
  swish,
];
