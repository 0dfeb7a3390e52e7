// Networks of another precision: ONNX Runtime runs the model as it came and after the import, on the same images.

import { describe, expect, test } from 'vitest';
import { importPipeline } from '../../passes/catalogue.js';
import { createState } from '../../passes/index.js';
import { preResNet } from '../../fixtures/models.js';
import { InlineData, Model, Tensor, int, tensor } from '../../src/ir/index.js';
import type { Attribute, AttributeMap, DataType, Value } from '../../src/ir/index.js';
import { toFloat32 } from '../../passes/to-float32.js';
import { decodeModel, encodeModel } from '../../src/onnx/index.js';
import { fromFloat16, toFloat16 } from '../../src/onnx/numeric.js';
import { Random, elementCode } from '../../src/ops/index.js';
import { runPipeline } from '../../src/rewrite/index.js';
import { loadRuntime } from '../../runtime/session.js';

const network = (): Model => preResNet({ depth: 8, width: 8, image: 8, norm: 'random' });

/** The network with its weights in another type; images and logits too, unless casts stand before and behind. */
function inType(dtype: DataType, casts = false): Model {
  const model = network();
  const { graph } = model;
  for (const value of graph.constants) {
    if (value.constant?.dtype !== 'float32') continue;
    const { dims, data } = value.constant.load();
    value.constant = new InlineData(new Tensor(dtype, dims, data));
    value.type = { dtype, shape: dims };
  }
  for (const node of graph.nodes)
    for (const value of node.outputs) if (value) value.type = undefined;
  const [images] = graph.inputs;
  const [logits] = graph.outputs;
  if (!images?.type || !logits) throw new Error('the network has images and logits');
  logits.type = { dtype, shape: ['N', 10] };
  if (!casts) {
    images.type = { ...images.type, dtype };
    return model;
  }
  const narrow = graph.addNode({
    op: 'Cast',
    inputs: [],
    outputs: ['narrow'],
    attributes: { to: int(elementCode(dtype)) },
  });
  graph.replaceUses(images, narrow.output());
  narrow.addInput(images);
  const wide = graph.addNode({
    op: 'Cast',
    inputs: [logits],
    outputs: ['wide'],
    attributes: { to: int(elementCode('float32')) },
  });
  wide.output().type = { dtype: 'float32', shape: ['N', 10] };
  graph.outputs[0] = wide.output();
  graph.sort();
  return model;
}

const images = new Random(3).tensor([2, 3, 8, 8]);

/** Logits of two images by ONNX Runtime, which takes and gives float16 as its bits. */
async function run(model: Model): Promise<number[]> {
  const ort = await loadRuntime();
  const session = await ort.InferenceSession.create(encodeModel(model).bytes, {
    logSeverityLevel: 3,
  });
  const [input] = model.graph.inputs;
  const feed =
    input?.type?.dtype === 'float16'
      ? new ort.Tensor('float16', Uint16Array.from(images.data, toFloat16), images.dims)
      : new ort.Tensor('float32', Float32Array.from(images.data), images.dims);
  const [result] = Object.values(await session.run({ input: feed }));
  await session.release();
  if (!result) throw new Error('no result');
  return Array.from(result.data as Float32Array | Uint16Array, (x) =>
    result.type === 'float16' ? fromFloat16(x) : x,
  );
}

/** The model read from its bytes and brought into the form the compiler works on. */
function imported(model: Model): { model: Model; notes: readonly string[] } {
  const state = createState(decodeModel(encodeModel(model).bytes));
  runPipeline(importPipeline, state);
  return state;
}

const typesOf = ({ graph }: Model): Set<string | undefined> =>
  new Set([...graph.values()].map((v) => v.type?.dtype).filter((t) => t !== 'int64'));

function gap(actual: readonly number[], expected: readonly number[]): number {
  expect(actual.length).toBe(expected.length);
  const largest = Math.max(...expected.map(Math.abs));
  return Math.max(...actual.map((x, i) => Math.abs(x - (expected[i] ?? NaN)))) / largest;
}

describe('a network in float16', () => {
  test('computes the same in float32, up to what float16 rounds', async () => {
    const before = inType('float16');
    const { model, notes } = imported(before);
    expect(typesOf(model)).toEqual(new Set(['float32']));
    expect(notes).toEqual([expect.stringContaining('the model is in float16')]);
    const [was, is] = [await run(before), await run(model)];
    expect(gap(is, was)).toBeLessThan(1e-2);
    expect(gap(is, was)).toBeGreaterThan(0);
  });

  test('between casts loses the casts, and says that it is mixed', async () => {
    const before = inType('float16', true);
    const { model, notes } = imported(before);
    expect(typesOf(model)).toEqual(new Set(['float32']));
    expect([...model.graph.nodes].filter((node) => node.op === 'Cast')).toEqual([]);
    expect(notes).toEqual([expect.stringContaining('float16; it is converted')]);
    expect(gap(await run(model), await run(before))).toBeLessThan(1e-2);
  });

  test('with weights in float32 that are cast down', async () => {
    const before = network();
    const { graph } = before;
    for (const weight of [...graph.constants].filter((v) => v.constant?.dims.length === 4)) {
      const through = (from: Value, dtype: DataType): Value =>
        graph
          .addNode({
            op: 'Cast',
            inputs: [from],
            outputs: [`${from.name}.${dtype}`],
            attributes: { to: int(elementCode(dtype)) },
          })
          .output();
      const users = weight.uses;
      const wide = through(through(weight, 'float16'), 'float32');
      for (const { node, index } of users) node.setInput(index, wide);
    }
    graph.sort();
    const { model, notes } = imported(before);
    expect(notes).toEqual([expect.stringContaining('parts of the model are in float16')]);
    expect([...model.graph.nodes].filter((node) => node.op === 'Cast')).toEqual([]);
    expect(gap(await run(model), await run(before))).toBeLessThan(1e-2);
  });
});

test.each([
  ['float64', 1e-6],
  ['bfloat16', 1e-1],
] as const)('a network in %s gives the logits of the float32 one', async (dtype, tolerance) => {
  const { model, notes } = imported(inType(dtype));
  expect(typesOf(model)).toEqual(new Set(['float32']));
  expect(notes).toEqual([expect.stringContaining(`the model is in ${dtype}`)]);
  expect(gap(await run(model), await run(network()))).toBeLessThan(tolerance);
});

test('weights stay in the file until they are asked for', () => {
  const before = inType('float16');
  const { model } = imported(before);
  for (const [path, value] of [...model.graph.constants].map((v) => [v.name, v] as const)) {
    const original = [...before.graph.constants].find((v) => v.name === path)?.constant;
    if (original?.dtype !== 'float16') continue;
    // Two ways to the same elements: the bytes that are written, and the numbers that are computed with.
    const bytes = value.constant?.bytes() ?? new Uint8Array();
    const loaded = value.constant?.load().toArray();
    expect(Array.from(new Float32Array(bytes.slice().buffer))).toEqual(loaded);
    expect(loaded).toEqual(Array.from(original.load().data, (x) => fromFloat16(toFloat16(x))));
  }
});

test('constants inside nodes, and types that attributes name', () => {
  const model = new Model();
  model.opsets.set('', 17);
  const { graph } = model;
  const half = (values: number[]): Attribute =>
    tensor(new InlineData(Tensor.of('float16', [values.length], values)));
  const make = (op: string, inputs: readonly Value[], attributes: AttributeMap): Value =>
    graph.addNode({ op, inputs, outputs: [`${op}.y`], attributes }).output();
  const x = graph.addInput('x', { dtype: 'float16', shape: ['N'] });
  const constant = make('Constant', [], { value: half([0.5]) });
  const filled = make('ConstantOfShape', [make('Shape', [x], {})], { value: half([2]) });
  const like = make('RandomNormalLike', [x], { dtype: int(10) });
  graph.outputs.push(make('Sum', [x, constant, filled, like], {}));
  toFloat32.run(createState(model));
  for (const node of graph.nodes)
    for (const [, attribute] of node.attributes.entries()) {
      if (attribute.kind === 'int') expect(attribute.value).toBe(1);
      if (attribute.kind === 'tensor') expect(attribute.value.dtype).toBe('float32');
    }
  expect(x.type).toEqual({ dtype: 'float32', shape: ['N'] });
});

test('a network in float32 is left alone', () => {
  const { notes } = imported(network());
  expect(notes).toEqual([]);
});
