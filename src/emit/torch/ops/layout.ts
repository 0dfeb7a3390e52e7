// Operators that move elements: shapes, order of axes, parts, indices.

import { isStatic } from '../../../ir/index.js';
import type { DataType, Dim } from '../../../ir/index.js';
import { elementType } from '../../../ops/index.js';
import { floatText, joined, listed, numberText, py, size, tuple } from '../code.js';
import type { Code } from '../code.js';
import { axisOf, load, numbers, rankOf } from '../writing.js';
import type { Writers, Writing } from '../writing.js';

/** Element types as PyTorch calls them. */
export const TORCH_TYPES: Partial<Record<DataType, string>> = {
  float32: 'torch.float32',
  float64: 'torch.float64',
  float16: 'torch.float16',
  bfloat16: 'torch.bfloat16',
  int8: 'torch.int8',
  int16: 'torch.int16',
  int32: 'torch.int32',
  int64: 'torch.int64',
  uint8: 'torch.uint8',
  bool: 'torch.bool',
};

const torchType = (w: Writing, dtype: DataType): string =>
  TORCH_TYPES[dtype] ?? w.fail(`PyTorch has no ${dtype}`);

/** Extents; a single one that depends on the batch is what is left. */
function extents(w: Writing, shape: readonly Dim[], rest: boolean): Code[] {
  const open = shape.filter((d) => typeof d === 'string').length;
  return shape.map((d) => {
    if (typeof d === 'number') return py`${size(d, 'extent')}`;
    return rest && open === 1 ? py`-1` : w.extent(d);
  });
}

function reshape(w: Writing): Code {
  const shape = w.outShape();
  // A target with no element left over says more than a -1 would.
  const rest = !shape.includes(0);
  return py`${w.arg(0)}.reshape(${shape.length === 0 ? '()' : listed(extents(w, shape, rest))})`;
}

function flatten(w: Writing): Code {
  const axis = axisOf(w.attributes.int('axis', 1), rankOf(w));
  return axis === 1 && rankOf(w) > 1 ? py`${w.arg(0)}.flatten(1)` : reshape(w);
}

function transpose(w: Writing): Code {
  const rank = rankOf(w);
  const perm = w.attributes.ints('perm') ?? Array.from({ length: rank }, (_, i) => rank - 1 - i);
  const moved = perm.flatMap((from, to) => (from === to ? [] : [to]));
  const [a, b] = moved;
  if (moved.length === 2 && a !== undefined && b !== undefined)
    return py`${w.arg(0)}.transpose(${a}, ${b})`;
  return rank === 0 ? w.arg(0) : py`${w.arg(0)}.permute(${listed(perm)})`;
}

function squeeze(w: Writing): Code {
  const rank = rankOf(w);
  const given = w.has(1) ? numbers(w, 1) : w.shape(0).flatMap((d, i) => (d === 1 ? [i] : []));
  const axes = given.map((axis) => axisOf(axis, rank)).sort((a, b) => b - a);
  return axes.reduce((x, axis) => py`${x}.squeeze(${axis})`, w.arg(0));
}

function unsqueeze(w: Writing): Code {
  const given = numbers(w, 1);
  const rank = rankOf(w) + given.length;
  const axes = given.map((axis) => axisOf(axis, rank)).sort((a, b) => a - b);
  return axes.reduce((x, axis) => py`${x}.unsqueeze(${axis})`, w.arg(0));
}

function split(w: Writing): Code {
  const axis = axisOf(w.attributes.int('axis', 0), rankOf(w));
  const parts = w.node.outputs.map((v) => v?.shape?.[axis]);
  const lengths = parts.map((d) => (typeof d === 'number' ? d : w.fail('its parts are not known')));
  return py`${w.arg(0)}.split((${listed(lengths.map((n) => size(n, 'extent')))}${lengths.length === 1 ? ',' : ''}), dim=${axis})`;
}

function gather(w: Writing): Code {
  const rank = rankOf(w);
  const axis = axisOf(w.attributes.int('axis', 0), rank);
  const index = load(w, 1);
  if (index?.dims.length === 0)
    return py`${w.arg(0)}.select(${axis}, ${size(index.data[0] ?? 0, 'index')})`;
  if (w.trained(0) && axis === 0 && rank === 2 && !index) {
    const [rows = 0, width = 0] = w.constant(0)?.constant?.dims ?? [];
    const layer = py`nn.Embedding(${listed([size(rows, 'tokens'), size(width, 'channels')])})`;
    const held = w.layer('embedding', layer, [
      { name: 'weight', value: w.node.input(0), layout: 'same' },
    ]);
    return py`${held}(${w.arg(1)})`;
  }
  const before = Array.from({ length: axis }, () => ':');
  return py`${w.arg(0)}[${listed([...before, w.arg(1)])}]`;
}

const isOpenEnd = (end: number): boolean => end >= 2 ** 31 - 1;

/** start:end:step; what is left out is left out. */
function range(w: Writing, start: Dim, end: Dim, step: number): Code {
  const at = (d: Dim): Code => (typeof d === 'number' ? py`${size(d, 'bound')}` : w.extent(d));
  const from = start === 0 ? py`` : at(start);
  const to = typeof end === 'number' && isOpenEnd(end) ? py`` : at(end);
  return step === 1 ? py`${from}:${to}` : py`${from}:${to}:${step}`;
}

function slice(w: Writing): Code {
  const shape = w.shape(0);
  const [starts, ends] = [w.dims(1), w.dims(2)];
  if (!starts || !ends) return w.fail('its bounds are not known beforehand');
  const axes = w.has(3) ? numbers(w, 3) : starts.map((_, i) => i);
  const steps = w.has(4) ? numbers(w, 4) : starts.map(() => 1);
  const ranges = shape.map(() => py`:`);
  const flipped: number[] = [];
  starts.forEach((start, i) => {
    const axis = axisOf(axes[i] ?? i, shape.length);
    const [end, step] = [ends[i] ?? 0, steps[i] ?? 1];
    if (step > 0) ranges[axis] = range(w, start, end, step);
    else {
      ranges[axis] = backwards(w, start, end, step, shape[axis] ?? 0);
      flipped.push(axis);
    }
  });
  while (ranges.at(-1)?.key === ':') ranges.pop();
  const part = ranges.length === 0 ? w.arg(0) : py`${w.arg(0)}[${joined(ranges, ', ')}]`;
  return flipped.length === 0 ? part : py`${part}.flip(${listed(flipped)})`;
}

/** The elements of a slice with a negative step, in their own order. */
function backwards(w: Writing, start: Dim, end: Dim, step: number, extent: Dim): Code {
  if (typeof start !== 'number' || typeof end !== 'number' || typeof extent !== 'number')
    return w.fail('it goes backwards over an extent that is not known');
  const from = Math.min(Math.max(start < 0 ? start + extent : start, 0), extent - 1);
  const last = isOpenEnd(end) ? -1 : Math.max(end < 0 ? end + extent : end, -1);
  const count = Math.max(0, Math.ceil((last - from) / step));
  if (count === 0) return py`0:0`;
  const low = from + step * (count - 1);
  return step === -1 ? py`${low}:${from + 1}` : py`${low}:${from + 1}:${-step}`;
}

const PAD_MODES: Readonly<Record<string, string>> = { reflect: 'reflect', edge: 'replicate' };

function pad(w: Writing): Code {
  const pads = numbers(w, 1);
  const rank = rankOf(w);
  const pairs = Array.from(
    { length: rank },
    (_, i) => [pads[i] ?? 0, pads[i + rank] ?? 0] as const,
  );
  const first = pairs.findIndex(([a, b]) => a !== 0 || b !== 0);
  if (first < 0) return w.arg(0);
  const mode = w.attributes.string('mode', 'constant');
  const margins = listed(
    pairs
      .slice(first)
      .reverse()
      .flatMap((pair) => pair.map((n) => size(n, 'margin'))),
  );
  if (mode === 'constant') {
    const value = w.has(2) ? (w.scalar(2) ?? w.fail('what it pads with is not a constant')) : 0;
    const more = value === 0 ? '' : `, value=${numberText(value)}`;
    return py`F.pad(${w.arg(0)}, (${margins})${more})`;
  }
  const name = PAD_MODES[mode];
  if (name === undefined || first < 2) return w.fail(`PyTorch does not pad these axes by ${mode}`);
  return py`F.pad(${w.arg(0)}, (${margins}), mode='${name}')`;
}

function expand(w: Writing): Code {
  const [from, to] = [w.shape(0), w.outShape()];
  const lead = to.length - from.length;
  const dims = to.map((d, i) => {
    if (i >= lead && d === from[i - lead]) return py`-1`;
    return typeof d === 'number' ? py`${size(d, 'extent')}` : w.extent(d);
  });
  return py`${w.arg(0)}.expand(${listed(dims)})`;
}

function constantOfShape(w: Writing): Code {
  const value = w.attributes.tensor('value')?.load();
  const shape = w.outShape();
  const type = torchType(w, value?.dtype ?? 'float32');
  const number = value?.data[0] ?? 0;
  const isFloating = (value?.dtype ?? 'float32') === 'float32';
  const fill = isFloating
    ? floatText(number)
    : value?.dtype === 'bool'
      ? number
        ? 'True'
        : 'False'
      : number;
  const anchor = w.anchor();
  const dtype = isFloating ? '' : `, dtype=${type}`;
  return py`${anchor}.new_full(${tuple(extents(w, shape, false))}, ${fill}${dtype})`;
}

function cast(w: Writing): Code {
  const to = elementType(w.attributes.int('to', 1));
  // Floats stay as wide as the network runs.
  if (to === 'float32' && w.dtype(0) === 'float32') return w.arg(0);
  return py`${w.arg(0)}.to(${torchType(w, to)})`;
}

function scatterElements(w: Writing): Code {
  const axis = w.attributes.int('axis', 0);
  const how = w.attributes.string('reduction', 'none');
  if (how !== 'none' && how !== 'add') return w.fail(`its reduction is ${how}`);
  const name = how === 'add' ? 'scatter_add' : 'scatter';
  return py`${w.arg(0)}.${name}(${axis}, ${w.arg(1)}, ${w.arg(2)})`;
}

function scatterNd(w: Writing): Code {
  const how = w.attributes.string('reduction', 'none');
  if (how !== 'none' && how !== 'add') return w.fail(`its reduction is ${how}`);
  const more = how === 'add' ? ', accumulate=True' : '';
  return py`${w.arg(0)}.index_put(tuple(${w.arg(1)}.unbind(-1)), ${w.arg(2)}${more})`;
}

function gatherNd(w: Writing): Code {
  if (w.attributes.int('batch_dims', 0) !== 0) return w.fail('it has batch axes');
  return py`${w.arg(0)}[tuple(${w.arg(1)}.unbind(-1))]`;
}

function oneHot(w: Writing): Code {
  const depth = w.scalar(1) ?? w.fail('its depth is not a constant');
  const [off = 0, on = 1] = load(w, 2)?.toArray() ?? w.fail('its values are not constants');
  const axis = w.attributes.int('axis', -1);
  const hot = py`F.one_hot(${w.arg(0)}.long().remainder(${depth}), ${depth})`;
  const type = torchType(w, w.node.input(2).type?.dtype ?? 'float32');
  const scaled = py`${hot}.to(${type}) * ${on - off} + ${off}`;
  return axis === -1 ? scaled : py`(${scaled}).movedim(-1, ${axis})`;
}

function cumSum(w: Writing): Code {
  const axis = w.scalar(1) ?? w.fail('its axis is not a constant');
  if (w.attributes.int('exclusive', 0) === 1) return w.fail('it leaves out the element itself');
  const x = w.arg(0);
  if (w.attributes.int('reverse', 0) === 0) return py`${x}.cumsum(${axis})`;
  return py`${x}.flip(${axis}).cumsum(${axis}).flip(${axis})`;
}

function depthToSpace(w: Writing): Code {
  const block = w.attributes.int('blocksize', 1);
  if (w.attributes.string('mode', 'DCR') === 'CRD')
    return py`F.pixel_shuffle(${w.arg(0)}, ${block})`;
  const [, channels, height, width] = w.shape(0);
  const rest = [channels, height, width];
  if (!isStatic(rest as Dim[])) return w.fail('its extents are not known');
  const [c = 0, h = 0, v = 0] = rest as number[];
  const inner = c / block ** 2;
  const parts = py`${w.arg(0)}.reshape(-1, ${block}, ${block}, ${inner}, ${h}, ${v})`;
  return py`${parts}.permute(0, 3, 4, 1, 5, 2).reshape(-1, ${inner}, ${h * block}, ${v * block})`;
}

function spaceToDepth(w: Writing): Code {
  const block = w.attributes.int('blocksize', 1);
  const rest = w.shape(0).slice(1);
  if (!isStatic(rest)) return w.fail('its extents are not known');
  const [c = 0, h = 0, v = 0] = rest;
  const parts = py`${w.arg(0)}.reshape(-1, ${c}, ${h / block}, ${block}, ${v / block}, ${block})`;
  return py`${parts}.permute(0, 3, 5, 1, 2, 4).reshape(-1, ${c * block ** 2}, ${h / block}, ${v / block})`;
}

export const layout: Writers = {
  Reshape: reshape,
  Flatten: flatten,
  Transpose: transpose,
  Squeeze: squeeze,
  Unsqueeze: unsqueeze,
  Concat: (w) => {
    const parts = w.node.inputs.map((_, i) => w.arg(i));
    return py`torch.cat(${tuple(parts)}, dim=${axisOf(w.attributes.int('axis', 0), rankOf(w))})`;
  },
  Split: split,
  Gather: gather,
  GatherElements: (w) => py`${w.arg(0)}.gather(${w.attributes.int('axis', 0)}, ${w.arg(1)})`,
  GatherND: gatherNd,
  ScatterElements: scatterElements,
  ScatterND: scatterNd,
  Slice: slice,
  Pad: pad,
  Expand: expand,
  Tile: (w) => py`${w.arg(0)}.repeat(${listed(numbers(w, 1))})`,
  ConstantOfShape: constantOfShape,
  Cast: cast,
  Identity: (w) => w.arg(0),
  ArgMax: (w) => {
    if (w.attributes.int('select_last_index', 0) === 1) w.fail('it takes the last of equal ones');
    const keep = w.attributes.int('keepdims', 1) === 1 ? ', keepdim=True' : '';
    return py`${w.arg(0)}.argmax(${w.attributes.int('axis', 0)}${keep})`;
  },
  Trilu: (w) => {
    const name = w.attributes.int('upper', 1) === 1 ? 'triu' : 'tril';
    const k = w.has(1) ? (w.scalar(1) ?? w.fail('its diagonal is not a constant')) : 0;
    return py`${w.arg(0)}.${name}(${k === 0 ? '' : k})`;
  },
  OneHot: oneHot,
  CumSum: cumSum,
  DepthToSpace: depthToSpace,
  SpaceToDepth: spaceToDepth,
};
