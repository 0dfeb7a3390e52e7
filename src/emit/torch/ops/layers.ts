// Operators with weights, as layers of torch.nn where the weights are trained constants, else as functions.

import { elementCount, isStatic } from '../../../ir/index.js';
import { resolveConv, resolveConvTranspose } from '../../../ops/index.js';
import { floatSize, floatText, listed, numberText, py, size, sizes } from '../code.js';
import type { Code, Size } from '../code.js';
import { axisOf, rankOf } from '../writing.js';
import type { Holding, Writers, Writing } from '../writing.js';

/** "name=VALUE" unless the value is the default. */
const option = (name: string, value: Size, fallback: string, always = false): Code[] =>
  value.text === fallback && !always ? [] : [py`${name}=${value}`];

const same = (w: Writing, index: number, name: string): Holding => ({
  name,
  value: w.node.input(index),
  layout: 'same',
});

/** Extents of a trained constant. */
const extents = (w: Writing, index: number): readonly number[] =>
  w.constant(index)?.constant?.dims ?? w.fail(`operand ${index} is no constant`);

const known = (w: Writing, list: readonly (number | undefined)[]): number[] =>
  list.map((v) => v ?? w.fail('its padding depends on an extent that is not known'));

/** What F.pad takes: the last axis first. */
export const padding = (begin: readonly number[], end: readonly number[]): Code =>
  py`(${listed(
    begin
      .map((from, i) => [from, end[i] ?? 0] as const)
      .reverse()
      .flatMap((pair) => pair.map((n) => size(n, 'margin'))),
  )})`;

interface Convolution {
  readonly rank: number;
  readonly kernel: readonly number[];
  readonly group: number;
}

function convolution(w: Writing): Convolution {
  const kernel = w.shape(1).slice(2);
  if (!isStatic(kernel)) return w.fail('its kernel is not known');
  if (kernel.length < 1 || kernel.length > 3) return w.fail(`it has ${kernel.length} spatial axes`);
  return { rank: kernel.length, kernel, group: w.attributes.int('group', 1) };
}

function conv(w: Writing): Code {
  const { rank, kernel, group } = convolution(w);
  const g = resolveConv(w.attributes, w.shape(0).slice(2), kernel);
  const [begin, end] = [known(w, g.begin), known(w, g.end)];
  const symmetric = begin.every((b, i) => b === end[i]);
  const x = symmetric ? w.arg(0) : py`F.pad(${w.arg(0)}, ${padding(begin, end)})`;
  const pads = sizes(symmetric ? begin : begin.map(() => 0), 'padding');
  const more = [
    ...option('stride', sizes(g.strides, 'stride'), '1'),
    ...option('padding', pads, '0'),
    ...option('dilation', sizes(g.dilations, 'dilation'), '1'),
    ...option('groups', size(group, 'groups'), '1'),
  ];
  const isLayer = w.trained(1) && (!w.has(2) || w.trained(2));
  if (!isLayer) {
    const operands = [x, w.arg(1), ...(w.has(2) ? [w.arg(2)] : []), ...more];
    return py`F.conv${rank}d(${listed(operands)})`;
  }
  const [outChannels = 0, inChannels = 0] = extents(w, 1);
  const layer = py`nn.Conv${rank}d(${listed([
    size(inChannels * group, 'channels'),
    size(outChannels, 'width'),
    sizes(kernel, 'kernel'),
    ...more,
    ...(w.has(2) ? [] : ['bias=False']),
  ])})`;
  const holds = [same(w, 1, 'weight'), ...(w.has(2) ? [same(w, 2, 'bias')] : [])];
  return py`${w.layer('conv', layer, holds)}(${x})`;
}

function convTranspose(w: Writing): Code {
  const { rank, kernel, group } = convolution(w);
  const input = w.shape(0).slice(2);
  const g = resolveConvTranspose(w.attributes, input, kernel);
  const [begin, end] = [known(w, g.begin), known(w, g.end)];
  // PyTorch crops alike on both sides; what is to be left at the end more, output_padding brings.
  const extra = kernel.map((k, i) => {
    const [extent, wanted] = [input[i], g.output[i]];
    const [stride, dilation] = [g.strides[i] ?? 1, g.dilations[i] ?? 1];
    if (typeof extent !== 'number' || typeof wanted !== 'number')
      return (begin[i] ?? 0) - (end[i] ?? 0);
    return wanted - ((extent - 1) * stride + dilation * (k - 1) + 1 - 2 * (begin[i] ?? 0));
  });
  if (extra.some((n, i) => n < 0 || n >= Math.max(g.strides[i] ?? 1, g.dilations[i] ?? 1)))
    w.fail('PyTorch has no transposed convolution with this padding');
  const more = [
    ...option('stride', sizes(g.strides, 'stride'), '1'),
    ...option('padding', sizes(begin, 'padding'), '0'),
    ...option('output_padding', sizes(extra, 'extra'), '0'),
    ...option('groups', size(group, 'groups'), '1'),
    ...option('dilation', sizes(g.dilations, 'dilation'), '1'),
  ];
  if (!w.trained(1) || (w.has(2) && !w.trained(2))) {
    const operands = [w.arg(0), w.arg(1), ...(w.has(2) ? [w.arg(2)] : []), ...more];
    return py`F.conv_transpose${rank}d(${listed(operands)})`;
  }
  const [inChannels = 0, outChannels = 0] = extents(w, 1);
  const layer = py`nn.ConvTranspose${rank}d(${listed([
    size(inChannels, 'channels'),
    size(outChannels * group, 'width'),
    sizes(kernel, 'kernel'),
    ...more,
    ...(w.has(2) ? [] : ['bias=False']),
  ])})`;
  const holds = [same(w, 1, 'weight'), ...(w.has(2) ? [same(w, 2, 'bias')] : [])];
  return py`${w.layer('conv', layer, holds)}(${w.arg(0)})`;
}

const epsilon = (w: Writing): Size => floatSize(w.attributes.float('epsilon', 1e-5), 'eps');

/** 1 − m as the shortest decimal whose own 1 − m is the float32 again. */
function momentumText(kept: number): string {
  for (let digits = 1; digits < 10; digits++) {
    const short = Number((1 - kept).toPrecision(digits));
    if (Math.fround(1 - short) === Math.fround(kept)) return floatText(short);
  }
  return numberText(1 - kept);
}

function batchNorm(w: Writing): Code {
  const rank = Math.max(2, rankOf(w));
  const kind = rank <= 3 ? '1d' : `${rank - 2}d`;
  const [channels = 0] = extents(w, 1);
  // ONNX keeps this share of the old average, PyTorch takes the rest of the new one.
  const momentum = momentumText(w.attributes.float('momentum', 0.9));
  const layer = py`nn.BatchNorm${kind}(${listed([
    size(channels, 'channels'),
    ...option('eps', epsilon(w), '0.00001'),
    ...option('momentum', { kind: 'size', text: momentum, name: 'momentum' }, '0.1'),
  ])})`;
  const names = ['weight', 'bias', 'running_mean', 'running_var'];
  for (const index of [1, 2, 3, 4]) extents(w, index);
  const holds = names.map((name, i) => same(w, i + 1, name));
  return py`${w.layer('norm', layer, holds)}(${w.arg(0)})`;
}

/** A layer of normalisation with scale and bias, if both are trained constants of these extents. */
const isAffine = (w: Writing, count: number): boolean =>
  [1, 2].every((i) => w.trained(i) && elementCount(extents(w, i)) === count);

function layerNorm(w: Writing): Code {
  const shape = w.shape(0);
  const axis = axisOf(w.attributes.int('axis', -1), shape.length);
  const inner = shape.slice(axis);
  if (!isStatic(inner)) return w.fail('the extents it is taken over are not known');
  const eps = epsilon(w);
  const extent = inner.length === 1 ? py`${size(inner[0] ?? 0, 'channels')}` : py`${sizes2(inner)}`;
  const full = (i: number): boolean => w.constant(i)?.constant?.dims.join() === inner.join();
  if (w.has(2) && isAffine(w, elementCount(inner)) && full(1) && full(2)) {
    const layer = py`nn.LayerNorm(${listed([extent, ...option('eps', eps, '0.00001')])})`;
    const held = w.layer('norm', layer, [same(w, 1, 'weight'), same(w, 2, 'bias')]);
    return py`${held}(${w.arg(0)})`;
  }
  const tupled = inner.length === 1 ? py`(${extent},)` : extent;
  const normal = py`F.layer_norm(${w.arg(0)}, ${tupled}, eps=${eps})`;
  const scaled = py`${normal} * ${w.arg(1)}`;
  return w.has(2) ? py`${scaled} + ${w.arg(2)}` : scaled;
}

const sizes2 = (values: readonly number[]): Size => ({
  kind: 'size',
  text: `(${values.join(', ')})`,
  name: 'extents',
});

function instanceNorm(w: Writing): Code {
  const rank = rankOf(w);
  const [channels = 0] = extents(w, 1);
  const eps = epsilon(w);
  if (isAffine(w, channels) && rank >= 3 && rank <= 5) {
    const options = [size(channels, 'channels'), ...option('eps', eps, '0.00001'), 'affine=True'];
    const layer = py`nn.InstanceNorm${rank - 2}d(${listed(options)})`;
    const held = w.layer('norm', layer, [same(w, 1, 'weight'), same(w, 2, 'bias')]);
    return py`${held}(${w.arg(0)})`;
  }
  // A number stands for a vector of equal elements.
  const ones = [1, 2].map((i) => (w.scalar(i) === undefined ? undefined : w.scalar(i)));
  if (ones[0] === 1 && ones[1] === 0) return py`F.instance_norm(${w.arg(0)}, eps=${eps})`;
  return py`F.instance_norm(${w.arg(0)}, weight=${w.arg(1)}, bias=${w.arg(2)}, eps=${eps})`;
}

function groupNorm(w: Writing): Code {
  const groups = size(w.attributes.int('num_groups', 1), 'groups');
  const channels = elementCount(extents(w, 1));
  const eps = epsilon(w);
  if (!isAffine(w, channels))
    return py`F.group_norm(${w.arg(0)}, ${groups}, eps=${eps}) * ${w.arg(1)} + ${w.arg(2)}`;
  const options = [groups, size(channels, 'channels'), ...option('eps', eps, '0.00001')];
  const flat = [1, 2].map((i): Holding => {
    return { name: i === 1 ? 'weight' : 'bias', value: w.node.input(i), layout: 'flat' };
  });
  return py`${w.layer('norm', py`nn.GroupNorm(${listed(options)})`, flat)}(${w.arg(0)})`;
}

/** x·W + b with W [in, out], or [out, in] where it is transposed already. */
function linear(w: Writing, isTransposed: boolean): Code {
  const [rows = 0, columns = 0] = extents(w, 1);
  const [inputs, outputs] = isTransposed ? [columns, rows] : [rows, columns];
  const layer = py`nn.Linear(${listed([
    size(inputs, 'channels'),
    size(outputs, 'width'),
    ...(w.has(2) ? [] : ['bias=False']),
  ])})`;
  const weight: Holding = {
    name: 'weight',
    value: w.node.input(1),
    layout: isTransposed ? 'same' : 'transposed',
  };
  const holds = [weight, ...(w.has(2) ? [same(w, 2, 'bias')] : [])];
  return py`${w.layer('linear', layer, holds)}(${w.arg(0)})`;
}

/** A weight that others read too keeps its own layout, so that it can be one parameter. */
const isLinear = (w: Writing, isTransposed: boolean): boolean =>
  w.trained(1) &&
  rankOf(w, 1) === 2 &&
  rankOf(w, 0) >= 2 &&
  (isTransposed || !w.shared(w.node.input(1)));

function matMul(w: Writing): Code {
  return isLinear(w, false) ? linear(w, false) : py`torch.matmul(${w.arg(0)}, ${w.arg(1)})`;
}

function gemm(w: Writing): Code {
  const { attributes } = w;
  const [alpha, beta] = [attributes.float('alpha', 1), attributes.float('beta', 1)];
  const [transA, transB] = [attributes.int('transA', 0) !== 0, attributes.int('transB', 0) !== 0];
  const plain = alpha === 1 && beta === 1 && !transA;
  const bias = w.has(2) ? w.constant(2)?.constant?.dims : [];
  const [, outputs] = w.outShape();
  const isVector = w.has(2) ? bias?.join() === String(outputs) && w.trained(2) : true;
  if (plain && isVector && isLinear(w, transB)) return linear(w, transB);
  const a = transA ? py`${w.arg(0)}.t()` : w.arg(0);
  const b = transB ? py`${w.arg(1)}.t()` : w.arg(1);
  const product = alpha === 1 ? py`${a} @ ${b}` : py`${floatSize(alpha, 'alpha')} * (${a} @ ${b})`;
  if (!w.has(2)) return product;
  return beta === 1
    ? py`${product} + ${w.arg(2)}`
    : py`${product} + ${floatSize(beta, 'beta')} * ${w.arg(2)}`;
}

export const layers: Writers = {
  Conv: conv,
  ConvTranspose: convTranspose,
  BatchNormalization: batchNorm,
  LayerNormalization: layerNorm,
  InstanceNormalization: instanceNorm,
  'revnetify.GroupNormalization': groupNorm,
  Gemm: gemm,
  MatMul: matMul,
  // MatMul and the Add of a bias, found by idioms.ts.
  'torch.Linear': (w) => linear(w, false),
  Dropout: (w) => {
    const ratio = w.has(1) ? (w.scalar(1) ?? w.fail('its ratio is not a constant')) : 0.5;
    return py`${w.layer('dropout', py`nn.Dropout(${floatSize(ratio, 'dropout')})`, [])}(${w.arg(0)})`;
  },
};
