// Every change of an operator between opsets: ONNX Runtime runs the model in its own opset and after the
// conversion, on the same input. Both run the same kernels for the same arithmetic, so 1e-6 of the largest
// element leaves room for functions that are written out and for nothing else.

import { describe, expect, test } from 'vitest';
import { preResNet } from '../../fixtures/models.js';
import { importPipeline } from '../../passes/catalogue.js';
import { expandGroupNorm } from '../../passes/expand-group-norm.js';
import { createState } from '../../passes/index.js';
import { upgradeOpset } from '../../passes/upgrade-opset.js';
import {
  Attributes,
  InlineData,
  Model,
  Tensor,
  float,
  floats,
  int,
  ints,
  string,
} from '../../src/ir/index.js';
import type { AttributeMap, Value } from '../../src/ir/index.js';
import { assertValid } from '../../src/ir/verify.js';
import { encodeModel } from '../../src/onnx/index.js';
import { Random } from '../../src/ops/index.js';
import { runPipeline } from '../../src/rewrite/index.js';
import { difference, runBytes } from '../ops/support.js';

interface Case {
  readonly label: string;
  readonly opset: number;
  readonly op: string;
  readonly inputs: readonly (Tensor | undefined)[];
  /** Operands that are initializers; the others are fed. */
  readonly constants?: readonly number[];
  readonly attributes?: AttributeMap;
  readonly outputs?: number;
  /** How many of the outputs are read; default all. */
  readonly reads?: number;
  /** An operator nothing is known about comes first, so that operand 0 has no type. */
  readonly untyped?: boolean;
  /** The operators expected afterwards. */
  readonly becomes?: readonly string[];
}

const random = new Random(11);
const t = (...dims: number[]): Tensor => random.tensor(dims);
const image = t(2, 3, 4, 4);
const channels = (shift = 0): Tensor => random.tensor([3], 0.2, shift);

const CASES: readonly Case[] = [
  // Attributes that became operands.
  {
    label: 'Squeeze with axes',
    opset: 11,
    op: 'Squeeze',
    inputs: [t(1, 3, 1)],
    attributes: { axes: ints([0]) },
  },
  { label: 'Squeeze of all', opset: 9, op: 'Squeeze', inputs: [t(1, 3, 1)] },
  {
    label: 'Unsqueeze',
    opset: 9,
    op: 'Unsqueeze',
    inputs: [t(2, 3)],
    attributes: { axes: ints([0, 3]) },
  },
  {
    label: 'ReduceSum with axes',
    opset: 12,
    op: 'ReduceSum',
    inputs: [t(2, 3, 4)],
    attributes: { axes: ints([1]), keepdims: int(0) },
  },
  { label: 'ReduceSum of all', opset: 9, op: 'ReduceSum', inputs: [t(2, 3, 4)] },
  {
    label: 'ReduceMean stays',
    opset: 9,
    op: 'ReduceMean',
    inputs: [t(2, 3, 4)],
    attributes: { axes: ints([1, 2]) },
  },
  {
    label: 'Split in named parts',
    opset: 11,
    op: 'Split',
    inputs: [t(2, 6)],
    attributes: { axis: int(1), split: ints([2, 4]) },
    outputs: 2,
  },
  {
    label: 'Split in halves',
    opset: 9,
    op: 'Split',
    inputs: [t(2, 6)],
    attributes: { axis: int(1) },
    outputs: 2,
  },
  {
    label: 'Slice with axes',
    opset: 9,
    op: 'Slice',
    inputs: [t(4, 5)],
    attributes: { starts: ints([1]), ends: ints([-1]), axes: ints([1]) },
  },
  {
    label: 'Slice without axes, to the end',
    opset: 7,
    op: 'Slice',
    inputs: [t(4, 5)],
    attributes: { starts: ints([1, 2]), ends: ints([3, 2 ** 31 - 1]) },
  },
  {
    label: 'Slice stays',
    opset: 10,
    op: 'Slice',
    inputs: [t(4, 5), Tensor.ints([1]), Tensor.ints([3])],
    constants: [1, 2],
  },
  {
    label: 'Pad with zeros',
    opset: 9,
    op: 'Pad',
    inputs: [image],
    attributes: { pads: ints([0, 0, 1, 2, 0, 0, 3, 4]) },
  },
  {
    label: 'Pad with a value',
    opset: 10,
    op: 'Pad',
    inputs: [image],
    attributes: { pads: ints([0, 1, 0, 0, 0, 0, 0, 0]), value: float(-1.5) },
  },
  {
    label: 'Pad with a value, operand not typed',
    opset: 10,
    op: 'Pad',
    inputs: [t(3)],
    attributes: { pads: ints([1, 1]), value: float(2) },
    untyped: true,
  },
  {
    label: 'Pad by reflection',
    opset: 9,
    op: 'Pad',
    inputs: [image],
    attributes: { pads: ints([0, 0, 1, 2, 0, 0, 3, 1]), mode: string('reflect') },
  },
  {
    label: 'Clip with both bounds',
    opset: 6 + 1,
    op: 'Clip',
    inputs: [t(3, 4)],
    attributes: { min: float(0), max: float(0.5) },
  },
  {
    label: 'Clip below only',
    opset: 10,
    op: 'Clip',
    inputs: [t(3, 4)],
    attributes: { min: float(-0.2) },
  },
  {
    label: 'Clip above only',
    opset: 10,
    op: 'Clip',
    inputs: [t(3, 4)],
    attributes: { max: float(0.1) },
  },
  { label: 'Clip without bounds', opset: 9, op: 'Clip', inputs: [t(3, 4)] },
  {
    label: 'TopK',
    opset: 9,
    op: 'TopK',
    inputs: [t(3, 8)],
    attributes: { k: int(3), axis: int(1) },
    outputs: 2,
  },
  {
    label: 'Dropout of opset 7',
    opset: 7,
    op: 'Dropout',
    inputs: [t(3, 4)],
    attributes: { ratio: float(0.3) },
  },
  {
    label: 'Dropout of opset 10 with a mask nobody reads',
    reads: 1,
    opset: 10,
    op: 'Dropout',
    inputs: [t(3, 4)],
    attributes: { ratio: float(0.3) },
    outputs: 2,
  },
  { label: 'Dropout of opset 11', opset: 11, op: 'Dropout', inputs: [t(3, 4)] },
  {
    label: 'Upsample of opset 7',
    opset: 7,
    op: 'Upsample',
    inputs: [image],
    attributes: { mode: string('nearest'), scales: floats([1, 1, 2, 1.5]) },
    becomes: ['Resize'],
  },
  {
    label: 'Upsample of opset 9, linear',
    opset: 9,
    op: 'Upsample',
    inputs: [image, Tensor.of('float32', [4], [1, 1, 2, 2])],
    constants: [1],
    attributes: { mode: string('linear') },
    becomes: ['Resize'],
  },
  {
    label: 'Upsample of opset 9 with fed scales',
    opset: 9,
    op: 'Upsample',
    inputs: [image, Tensor.of('float32', [4], [1, 1, 3, 2])],
    becomes: ['Resize'],
  },
  {
    label: 'Resize of opset 10',
    opset: 10,
    op: 'Resize',
    inputs: [image, Tensor.of('float32', [4], [1, 1, 1.5, 2])],
    constants: [1],
    attributes: { mode: string('linear') },
  },
  {
    label: 'Resize of opset 10, smaller',
    opset: 10,
    op: 'Resize',
    inputs: [image, Tensor.of('float32', [4], [1, 1, 0.5, 0.5])],
    constants: [1],
  },
  {
    label: 'Resize of opset 11 by sizes',
    opset: 11,
    op: 'Resize',
    inputs: [
      image,
      Tensor.of('float32', [0], []),
      Tensor.of('float32', [0], []),
      Tensor.ints([2, 3, 7, 6]),
    ],
    constants: [1, 2, 3],
    attributes: { mode: string('linear') },
  },
  {
    label: 'Resize of opset 12 by scales',
    opset: 12,
    op: 'Resize',
    inputs: [image, Tensor.of('float32', [0], []), Tensor.of('float32', [4], [1, 1, 2, 2])],
    constants: [1, 2],
  },
  {
    label: 'Scatter',
    opset: 9,
    op: 'Scatter',
    inputs: [t(3, 4), Tensor.of('int64', [2, 2], [1, 0, 2, 1]), t(2, 2)],
    attributes: { axis: int(1) },
    becomes: ['ScatterElements'],
  },
  {
    label: 'Scatter without axis',
    opset: 10,
    op: 'Scatter',
    inputs: [t(3, 4), Tensor.of('int64', [2, 2], [1, 0, 2, 1]), t(2, 2)],
    becomes: ['ScatterElements'],
  },

  // Operators whose meaning changed.
  { label: 'Softmax of rank 2', opset: 9, op: 'Softmax', inputs: [t(3, 5)], becomes: ['Softmax'] },
  {
    label: 'Softmax over two axes',
    opset: 11,
    op: 'Softmax',
    inputs: [t(2, 3, 4)],
    becomes: ['Flatten', 'Softmax', 'Reshape'],
  },
  {
    label: 'Softmax over the last axis',
    opset: 11,
    op: 'Softmax',
    inputs: [t(2, 3, 4)],
    attributes: { axis: int(2) },
    becomes: ['Softmax'],
  },
  {
    label: 'Softmax, axis -1',
    opset: 12,
    op: 'Softmax',
    inputs: [t(2, 3, 4)],
    attributes: { axis: int(-1) },
    becomes: ['Softmax'],
  },
  {
    label: 'Softmax, axis -2',
    opset: 12,
    op: 'Softmax',
    inputs: [t(2, 3, 4)],
    attributes: { axis: int(-2) },
    becomes: ['Flatten', 'Softmax', 'Reshape'],
  },
  {
    label: 'Softmax, axis 0',
    opset: 9,
    op: 'Softmax',
    inputs: [t(2, 3)],
    attributes: { axis: int(0) },
    becomes: ['Flatten', 'Softmax', 'Reshape'],
  },
  {
    label: 'Softmax before a flatten',
    opset: 9,
    op: 'Softmax',
    inputs: [t(2, 5, 1, 1)],
    becomes: ['Softmax'],
  },
  {
    label: 'Softmax of unknown rank',
    opset: 9,
    op: 'Softmax',
    inputs: [t(2, 3, 4)],
    untyped: true,
    becomes: ['Sinh', 'Flatten', 'Softmax', 'Shape', 'Reshape'],
  },
  {
    label: 'Softmax of unknown rank, axis -1',
    opset: 11,
    op: 'Softmax',
    inputs: [t(2, 3, 4)],
    attributes: { axis: int(-1) },
    untyped: true,
    becomes: ['Sinh', 'Softmax'],
  },
  { label: 'LogSoftmax', opset: 9, op: 'LogSoftmax', inputs: [t(2, 3, 4)] },
  { label: 'Hardmax', opset: 9, op: 'Hardmax', inputs: [t(2, 3, 4)] },
  {
    label: 'BatchNormalization of opset 9',
    opset: 9,
    op: 'BatchNormalization',
    inputs: [image, channels(1), channels(), channels(), channels(1)],
    constants: [1, 2, 3, 4],
    attributes: { epsilon: float(1e-3), momentum: float(0.9) },
  },
  {
    label: 'BatchNormalization of opset 7 with spatial',
    opset: 7,
    op: 'BatchNormalization',
    inputs: [image, channels(1), channels(), channels(), channels(1)],
    constants: [1, 2, 3, 4],
    attributes: { spatial: int(1) },
  },
  {
    label: 'BatchNormalization of opset 14 in training',
    opset: 14,
    op: 'BatchNormalization',
    inputs: [image, channels(1), channels(), channels(), channels(1)],
    constants: [1, 2, 3, 4],
    attributes: { training_mode: int(1) },
    outputs: 3,
  },
  {
    label: 'RoiAlign',
    opset: 10,
    op: 'RoiAlign',
    inputs: [image, Tensor.of('float32', [1, 4], [0, 0, 2.6, 3.1]), Tensor.ints([0])],
    attributes: { output_height: int(2), output_width: int(2) },
  },

  // What did not change but for element types.
  { label: 'Cast', opset: 9, op: 'Cast', inputs: [t(2, 3)], attributes: { to: int(7) } },
  {
    label: 'ConstantOfShape',
    opset: 9,
    op: 'ConstantOfShape',
    inputs: [Tensor.ints([2, 3])],
    constants: [0],
  },
  { label: 'Gather', opset: 9, op: 'Gather', inputs: [t(4, 3), Tensor.ints([2, 0])] },
  {
    label: 'MaxPool',
    opset: 8,
    op: 'MaxPool',
    inputs: [image],
    attributes: { kernel_shape: ints([2, 2]), strides: ints([2, 2]) },
  },
  {
    label: 'AveragePool with ceil_mode',
    opset: 10,
    op: 'AveragePool',
    inputs: [image],
    attributes: { kernel_shape: ints([3, 3]), strides: ints([2, 2]), ceil_mode: int(1) },
  },
  { label: 'Gemm', opset: 9, op: 'Gemm', inputs: [t(2, 3), t(3, 4), t(4)] },
  { label: 'ArgMax', opset: 11, op: 'ArgMax', inputs: [t(3, 4)], attributes: { axis: int(1) } },

  // Newer opsets, taken back.
  {
    label: 'ReduceMean with an operand',
    opset: 18,
    op: 'ReduceMean',
    inputs: [t(2, 3, 4), Tensor.ints([1, -1])],
    constants: [1],
  },
  {
    label: 'ReduceMax of all',
    opset: 20,
    op: 'ReduceMax',
    inputs: [t(2, 3, 4)],
    attributes: { keepdims: int(0) },
  },
  {
    label: 'ReduceL2 with an operand',
    opset: 18,
    op: 'ReduceL2',
    inputs: [t(2, 3, 4), Tensor.ints([1])],
    constants: [1],
  },
  {
    label: 'ReduceMin of nothing',
    opset: 18,
    op: 'ReduceMin',
    inputs: [t(2, 3), Tensor.ints([])],
    constants: [1],
    attributes: { noop_with_empty_axes: int(1) },
    becomes: ['Identity'],
  },
  {
    label: 'Split with num_outputs',
    opset: 18,
    op: 'Split',
    inputs: [t(2, 6)],
    attributes: { axis: int(1), num_outputs: int(3) },
    outputs: 3,
  },
  {
    label: 'Split in uneven parts',
    opset: 19,
    op: 'Split',
    inputs: [t(2, 7)],
    attributes: { axis: int(-1), num_outputs: int(3) },
    outputs: 3,
  },
  {
    label: 'Pad of some axes',
    opset: 18,
    op: 'Pad',
    inputs: [image, Tensor.ints([1, 2, 3, 4]), Tensor.scalar(0.5), Tensor.ints([-1, 2])],
    constants: [1, 2, 3],
  },
  {
    label: 'Pad without axes',
    opset: 21,
    op: 'Pad',
    inputs: [t(2, 3), Tensor.ints([1, 0, 0, 2])],
    constants: [1],
  },
  {
    label: 'an extreme of booleans',
    opset: 20,
    op: 'ReduceMax',
    inputs: [Tensor.of('bool', [2, 2], [0, 1, 0, 0]), Tensor.ints([1])],
    constants: [1],
    attributes: { keepdims: int(0) },
  },
  {
    label: 'Resize of some axes by scales',
    opset: 18,
    op: 'Resize',
    inputs: [image, undefined, Tensor.of('float32', [2], [2, 1.5])],
    constants: [2],
    attributes: { axes: ints([2, 3]), mode: string('linear') },
  },
  {
    label: 'Resize of some axes by sizes',
    opset: 19,
    op: 'Resize',
    inputs: [image, undefined, undefined, Tensor.ints([7, 6])],
    constants: [3],
    attributes: { axes: ints([-2, -1]), antialias: int(0) },
  },
  {
    label: 'ScatterElements that adds',
    opset: 18,
    op: 'ScatterElements',
    inputs: [t(3, 4), Tensor.of('int64', [2, 2], [1, 0, 2, 1]), t(2, 2)],
    attributes: { reduction: string('add') },
  },
  {
    label: 'AveragePool of opset 19',
    opset: 19,
    op: 'AveragePool',
    inputs: [image],
    attributes: { kernel_shape: ints([2, 2]), dilations: ints([1, 1]) },
  },
  {
    label: 'LpPool of opset 18',
    opset: 18,
    op: 'LpPool',
    inputs: [image],
    attributes: { kernel_shape: ints([2, 2]), dilations: ints([1, 1]), ceil_mode: int(0) },
  },
  {
    label: 'Cast with saturate',
    opset: 21,
    op: 'Cast',
    inputs: [t(2, 3)],
    attributes: { to: int(11), saturate: int(1) },
  },
  {
    label: 'GridSample of opset 20',
    opset: 20,
    op: 'GridSample',
    inputs: [image, random.tensor([2, 3, 3, 2], 0.4)],
    attributes: { mode: string('linear') },
  },
  { label: 'Gelu', opset: 20, op: 'Gelu', inputs: [t(3, 4)] },
  {
    label: 'Gelu by tanh',
    opset: 20,
    op: 'Gelu',
    inputs: [t(3, 4)],
    attributes: { approximate: string('tanh') },
  },
  { label: 'Mish', opset: 18, op: 'Mish', inputs: [t(3, 4)] },
  { label: 'Swish', opset: 24, op: 'Swish', inputs: [t(3, 4)] },
  {
    label: 'Swish with a slope',
    opset: 24,
    op: 'Swish',
    inputs: [t(3, 4)],
    attributes: { alpha: float(1.5) },
  },
  {
    label: 'GroupNormalization per group',
    opset: 18,
    op: 'GroupNormalization',
    inputs: [t(2, 6, 3, 4), t(2), t(2)],
    constants: [1, 2],
    attributes: { num_groups: int(2) },
  },
  {
    label: 'GroupNormalization per channel',
    opset: 21,
    op: 'GroupNormalization',
    inputs: [t(2, 6, 5), t(6), t(6)],
    constants: [1, 2],
    attributes: { num_groups: int(3), epsilon: float(1e-2) },
  },
  { label: 'RMSNormalization', opset: 23, op: 'RMSNormalization', inputs: [t(2, 3, 6), t(6)] },
  {
    label: 'RMSNormalization of two axes',
    opset: 23,
    op: 'RMSNormalization',
    inputs: [t(2, 3, 6), t(3, 6)],
    attributes: { axis: int(1), epsilon: float(1e-2) },
  },
  { label: 'Relu of opset 21', opset: 21, op: 'Relu', inputs: [t(3, 4)] },
];

interface Built {
  readonly model: Model;
  readonly feeds: Record<string, Tensor>;
}

function build(c: Case): Built {
  const model = new Model();
  model.opsets.set('', c.opset);
  const { graph } = model;
  const feeds: Record<string, Tensor> = {};
  const operands = c.inputs.map((tensor, i): Value | undefined => {
    if (!tensor) return undefined;
    if (c.constants?.includes(i)) return graph.addConstant(`in${i}`, new InlineData(tensor));
    feeds[`in${i}`] = tensor;
    const value = graph.addInput(`in${i}`, { dtype: tensor.dtype, shape: tensor.dims });
    if (i > 0 || !c.untyped) return value;
    return graph.addNode({ op: 'Sinh', inputs: [value], outputs: ['hidden'] }).output();
  });
  const node = graph.addNode({
    op: c.op,
    name: 'node',
    inputs: operands,
    outputs: Array.from({ length: c.outputs ?? 1 }, (_, i) => `out${i}`),
    attributes: new Attributes(c.attributes ?? {}),
  });
  for (const value of node.outputs.slice(0, c.reads)) if (value) graph.outputs.push(value);
  return { model, feeds };
}

const run = ({ model, feeds }: Built): Promise<Map<string, Tensor>> =>
  runBytes(encodeModel(model).bytes, feeds);

const upgrade = (model: Model): void => {
  upgradeOpset.run(createState(model));
  assertValid(model, upgradeOpset.name);
  runPipeline([expandGroupNorm], createState(model));
};

describe('computes what it did', () => {
  test.each(CASES.map((c) => [`${c.label} (opset ${c.opset})`, c] as const))('%s', async (_, c) => {
    const built = build(c);
    const before = await run(built);
    upgrade(built.model);
    expect(built.model.opset).toBe(17);
    const operators = [...built.model.graph.nodes].map((n) => n.op);
    if (c.becomes) expect(operators).toEqual(c.becomes);
    const after = await run(built);
    expect([...after.keys()]).toEqual([...before.keys()]);
    for (const [name, want] of before) {
      const got = after.get(name);
      expect(got?.dims).toEqual(want.dims);
      expect(got?.dtype).toBe(want.dtype);
      if (got) expect(difference(got, want), name).toBeLessThan(1e-6);
    }
  });
});

describe('training exports before opset 14', () => {
  const five: Case = {
    label: 'five outputs',
    opset: 12,
    op: 'BatchNormalization',
    inputs: [image, channels(1), channels(), channels(), channels(1)],
    constants: [1, 2, 3, 4],
    attributes: { momentum: float(0.9) },
    outputs: 5,
  };

  test('five outputs mean training mode, as opset 14 says it', async () => {
    // ONNX Runtime does not run the old form: the new one with the flag is the oracle.
    const built = build(five);
    built.model.graph.outputs.length = 3;
    upgrade(built.model);
    const attributes = { momentum: float(0.9), training_mode: int(1) };
    const want = await run(build({ ...five, opset: 14, outputs: 3, attributes }));
    const got = await run(built);
    expect([...got.keys()]).toEqual(['out0', 'out1', 'out2']);
    for (const [name, tensor] of want)
      expect(difference(got.get(name) ?? Tensor.scalar(NaN), tensor)).toBeLessThan(1e-6);
  });

  test('saved statistics that are read are refused', () => {
    expect(() => upgrade(build(five).model)).toThrow('saved statistics');
  });
});

describe('refuses', () => {
  const x = t(2, 3);
  const refused: readonly (readonly [string, Omit<Case, 'label'>, string])[] = [
    ['an opset before 7', { opset: 6, op: 'Relu', inputs: [x] }, 'opset 6'],
    ['an opset of the future', { opset: 99, op: 'Relu', inputs: [x] }, 'opset 99'],
    ['computed axes', { opset: 18, op: 'ReduceMean', inputs: [x, Tensor.ints([1])] }, 'computed'],
    ['a mask that is read', { opset: 10, op: 'Dropout', inputs: [x], outputs: 2 }, 'mask'],
    [
      'spatial=0',
      {
        opset: 7,
        op: 'BatchNormalization',
        inputs: [image, channels(), channels(), channels(), channels()],
        attributes: { spatial: int(0) },
      },
      'spatial=0',
    ],
    ['an operator that came later', { opset: 18, op: 'BitwiseNot', inputs: [x] }, 'opset 18'],
    [
      'wrapping',
      {
        opset: 19,
        op: 'Pad',
        inputs: [x, Tensor.ints([1, 1, 1, 1])],
        attributes: { mode: string('wrap') },
      },
      'wrap',
    ],
    [
      'a maximum of scattered updates',
      {
        opset: 18,
        op: 'ScatterElements',
        inputs: [x, Tensor.ints([1]), x],
        attributes: { reduction: string('max') },
      },
      'max',
    ],
    [
      'antialiasing',
      { opset: 18, op: 'Resize', inputs: [image], attributes: { antialias: int(1) } },
      'antialias',
    ],
    [
      'dilated averages',
      { opset: 19, op: 'AveragePool', inputs: [image], attributes: { dilations: ints([2, 2]) } },
      'dilations',
    ],
  ];

  test.each(refused)('%s', (label, c, why) => {
    const { model } = build({ ...c, label });
    expect(() => upgrade(model)).toThrow('model/opset');
    expect(() => upgrade(build({ ...c, label }).model)).toThrow(why);
  });
});

test('no version of ai.onnx to read the operators by is refused as that', () => {
  const { model } = build({ label: '', opset: 17, op: 'Relu', inputs: [t(2)] });
  model.opsets.clear();
  expect(() => upgrade(model)).toThrow('imports no version of ai.onnx');
});

test('a whole network, imported from every opset from 7 to 24', async () => {
  const feeds = { input: random.tensor([2, 3, 8, 8]) };
  for (let opset = 7; opset <= 24; opset++) {
    const model = preResNet({ depth: 8, width: 8, image: 8, norm: 'random' });
    model.opsets.set('', opset);
    const [want] = (await runBytes(encodeModel(model).bytes, feeds)).values();
    runPipeline(importPipeline, createState(model));
    expect(model.opset).toBe(17);
    const [got] = (await runBytes(encodeModel(model).bytes, feeds)).values();
    expect(want && got && difference(got, want), `opset ${opset}`).toBeLessThan(1e-6);
  }
});

test('leaves a model of opset 17 untouched', () => {
  const { model } = build({ label: '', opset: 17, op: 'Relu', inputs: [t(2)] });
  const before = encodeModel(model).bytes;
  upgrade(model);
  expect(encodeModel(model).bytes).toEqual(before);
});
