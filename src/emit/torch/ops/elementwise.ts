// Operators that work element by element.

import { floatSize, floatText, py } from '../code.js';
import type { Code } from '../code.js';
import { rankOf } from '../writing.js';
import type { Writer, Writers, Writing } from '../writing.js';

const method =
  (name: string): Writer =>
  (w) =>
    py`${w.arg(0)}.${name}()`;

const call =
  (name: string): Writer =>
  (w) =>
    py`${name}(${w.arg(0)})`;

const infix =
  (sign: string): Writer =>
  (w) =>
    py`${w.arg(0)} ${sign} ${w.arg(1)}`;

/** All operands, one after the other. */
const folded =
  (join: (a: Code, b: Code) => Code): Writer =>
  (w) =>
    w.node.inputs
      .map((_, i) => i)
      .slice(1)
      .reduce((sum, i) => join(sum, w.arg(i)), w.arg(0));

/** The larger (smaller) of two; against a number by clamp, which takes numbers. */
const extreme =
  (tensors: string, bound: string): Writer =>
  (w) => {
    const count = w.node.inputs.length;
    const isNumber = (i: number): boolean => w.scalar(i) !== undefined && !w.trained(i);
    const order = [...w.node.inputs.keys()].sort(
      (a, b) => Number(isNumber(a)) - Number(isNumber(b)),
    );
    const [first = 0, ...rest] = order;
    if (count === 1) return w.arg(0);
    return rest.reduce(
      (at, i) =>
        isNumber(i) ? py`${at}.clamp(${bound}=${w.arg(i)})` : py`${tensors}(${at}, ${w.arg(i)})`,
      w.arg(first),
    );
  };

const alpha = (w: Writing, fallback: number): Code =>
  py`${floatSize(w.attributes.float('alpha', fallback), 'alpha')}`;

const isInteger = (dtype: string): boolean => /^u?int/.test(dtype);

function divide(w: Writing): Code {
  if (!isInteger(w.dtype(0))) return infix('/')(w);
  return py`torch.div(${w.arg(0)}, ${w.arg(1)}, rounding_mode='trunc')`;
}

function clip(w: Writing): Code {
  const bounds = [1, 2].flatMap((i) => {
    if (!w.has(i)) return [];
    const open = w.scalar(i);
    if (open !== undefined && Math.abs(open) >= 3.4e38) return [];
    return [py`${i === 1 ? 'min' : 'max'}=${w.arg(i)}`];
  });
  const [low, high] = bounds;
  if (!low) return w.arg(0);
  return high ? py`${w.arg(0)}.clamp(${low}, ${high})` : py`${w.arg(0)}.clamp(${low})`;
}

function hardSigmoid(w: Writing): Code {
  const [slope, shift] = [w.attributes.float('alpha', 0.2), w.attributes.float('beta', 0.5)];
  if (Math.fround(slope) === Math.fround(1 / 6) && shift === 0.5)
    return py`F.hardsigmoid(${w.arg(0)})`;
  return py`(${w.arg(0)} * ${floatText(slope)} + ${floatText(shift)}).clamp(0.0, 1.0)`;
}

/** A tensor, where a number would not do. */
const tensor = (w: Writing, index: number, like: Code): Code =>
  w.scalar(index) === undefined || w.trained(index)
    ? w.arg(index)
    : py`${like}.new_full((), ${w.arg(index)})`;

function where(w: Writing): Code {
  const like = [1, 2].find((i) => w.scalar(i) === undefined || w.trained(i));
  if (like === undefined) {
    const [yes, no] = [w.arg(1), w.arg(2)];
    return py`${w.arg(0)} * (${yes} - ${no}) + ${no}`;
  }
  const x = w.arg(like);
  return py`torch.where(${w.arg(0)}, ${tensor(w, 1, x)}, ${tensor(w, 2, x)})`;
}

function isInf(w: Writing): Code {
  const [above, below] = ['detect_positive', 'detect_negative'].map((name) =>
    Boolean(w.attributes.int(name, 1)),
  );
  if (above && below) return py`torch.isinf(${w.arg(0)})`;
  if (above) return py`torch.isposinf(${w.arg(0)})`;
  return below
    ? py`torch.isneginf(${w.arg(0)})`
    : py`torch.zeros_like(${w.arg(0)}, dtype=torch.bool)`;
}

function softmax(name: string): Writer {
  return (w) => py`F.${name}(${w.arg(0)}, dim=${w.attributes.int('axis', -1)})`;
}

const SELU = { alpha: 1.67326319217681884765625, gamma: 1.05070102214813232421875 };

function selu(w: Writing): Code {
  const [a, gamma] = [
    w.attributes.float('alpha', SELU.alpha),
    w.attributes.float('gamma', SELU.gamma),
  ];
  if (a === SELU.alpha && gamma === SELU.gamma) return py`F.selu(${w.arg(0)})`;
  return py`${floatText(gamma)} * F.elu(${w.arg(0)}, ${floatText(a)})`;
}

export const elementwise: Writers = {
  Add: infix('+'),
  Sub: infix('-'),
  Mul: infix('*'),
  Div: divide,
  Pow: (w) => py`torch.pow(${w.arg(0)}, ${w.arg(1)})`,
  Mod: (w) => {
    const name = w.attributes.int('fmod', 0) === 1 ? 'fmod' : 'remainder';
    return py`torch.${name}(${w.arg(0)}, ${w.arg(1)})`;
  },
  Sum: folded((a, b) => py`${a} + ${b}`),
  Mean: (w) => {
    const sum = folded((a, b) => py`${a} + ${b}`)(w);
    return py`(${sum}) / ${w.node.inputs.length}`;
  },
  Max: extreme('torch.maximum', 'min'),
  Min: extreme('torch.minimum', 'max'),
  Neg: (w) => py`-${w.arg(0)}`,
  Abs: method('abs'),
  Exp: method('exp'),
  Log: method('log'),
  Sqrt: method('sqrt'),
  Reciprocal: method('reciprocal'),
  Sin: method('sin'),
  Cos: method('cos'),
  Sign: method('sign'),
  Floor: method('floor'),
  Ceil: method('ceil'),
  Round: method('round'),
  Erf: call('torch.erf'),
  Not: (w) => py`~${w.arg(0)}`,
  And: infix('&'),
  Or: infix('|'),
  Xor: infix('^'),
  Equal: infix('=='),
  Less: infix('<'),
  LessOrEqual: infix('<='),
  Greater: infix('>'),
  GreaterOrEqual: infix('>='),
  IsNaN: call('torch.isnan'),
  IsInf: isInf,
  Where: where,
  Clip: clip,
  Relu: call('F.relu'),
  LeakyRelu: (w) => py`F.leaky_relu(${w.arg(0)}, ${alpha(w, 0.01)})`,
  Elu: (w) => py`F.elu(${w.arg(0)}, ${alpha(w, 1)})`,
  Celu: (w) => py`F.celu(${w.arg(0)}, ${alpha(w, 1)})`,
  Selu: selu,
  PRelu: (w) => py`torch.where(${w.arg(0)} < 0, ${w.arg(0)} * ${w.arg(1)}, ${w.arg(0)})`,
  Softplus: call('F.softplus'),
  Softsign: call('F.softsign'),
  ThresholdedRelu: (w) => py`F.threshold(${w.arg(0)}, ${alpha(w, 1)}, 0.0)`,
  Sigmoid: call('torch.sigmoid'),
  Tanh: call('torch.tanh'),
  HardSigmoid: hardSigmoid,
  HardSwish: call('F.hardswish'),
  Shrink: (w) => {
    const [edge, bias] = [w.attributes.float('lambd', 0.5), w.attributes.float('bias', 0)];
    const [x, e, b] = [w.arg(0), floatText(edge), floatText(bias)];
    return py`(${x} + ${b}) * (${x} < -${e}) + (${x} - ${b}) * (${x} > ${e})`;
  },
  Softmax: softmax('softmax'),
  LogSoftmax: softmax('log_softmax'),
  Hardmax: (w) => {
    const axis = w.attributes.int('axis', -1);
    const best = py`${w.arg(0)}.argmax(${axis}, keepdim=True)`;
    return py`torch.zeros_like(${w.arg(0)}).scatter(${axis}, ${best}, 1.0)`;
  },
  // Spelled out in the file, found by idioms.ts.
  'torch.Gelu': call('F.gelu'),
  'torch.Silu': call('F.silu'),
  LpNormalization: (w) => {
    const [p, axis] = [w.attributes.int('p', 2), w.attributes.int('axis', -1)];
    return py`${w.arg(0)} / ${w.arg(0)}.norm(p=${p}, dim=${axis}, keepdim=True)`;
  },
  LRN: (w) => {
    const a = floatText(w.attributes.float('alpha', 1e-4));
    const [b, k] = [w.attributes.float('beta', 0.75), w.attributes.float('bias', 1)].map(floatText);
    if (rankOf(w) !== 4) w.fail('it is not one of images');
    return py`F.local_response_norm(${w.arg(0)}, ${w.attributes.int('size', 1)}, ${a}, ${b ?? ''}, ${k ?? ''})`;
  },
};
