// What has changed is written as changed, and nothing else is; checked with an independent decoder.

import { describe, expect, test } from 'vitest';
import { InlineData, Model, Tensor, float, int, ints, string, tensor } from '../../src/ir/index.js';
import type { Graph, Node, Value } from '../../src/ir/index.js';
import { assertValid } from '../../src/ir/verify.js';
import { decodeModel, encodeModel } from '../../src/onnx/index.js';
import { TensorData } from '../../src/onnx/index.js';
import { decodeSample, encodeSample, graphOf, nodeNamed, sampleModel } from './helpers.js';

const find = (graph: Graph, name: string): Node => {
  for (const node of graph.nodes) if (node.name === name) return node;
  throw new Error(`no node ${name}`);
};
const value = (graph: Graph, name: string): Value => {
  for (const v of graph.values()) if (v.name === name) return v;
  throw new Error(`no value ${name}`);
};
const read = (): Model => {
  const model = decodeModel(encodeSample());
  assertValid(model);
  return model;
};

describe('reading', () => {
  test('fills in everything the IR holds', () => {
    const { graph, opset, irVersion, metadata, producerName } = read();
    expect([opset, irVersion, producerName, metadata.get('author')]).toEqual([
      13,
      8,
      'test',
      'tests',
    ]);
    expect(graph.name).toBe('g');
    expect(graph.inputs.map((v) => v.name)).toEqual(['x', 'W']);
    expect(value(graph, 'x').type).toEqual({ dtype: 'float32', shape: ['N', 2] });
    expect(value(graph, 'W').constant?.load().toArray()).toEqual([1, 2, 3, 4]);
    expect(value(graph, 'b').constant?.load().toArray()).toEqual([0.5, -0.5]);
    expect(value(graph, 'h').type).toEqual({ dtype: 'float32', shape: ['N', 2] });
    expect(find(graph, 'act').attributes.float('alpha', 1)).toBe(0.25);
    expect(find(graph, 'choose').captures.map((v) => v.name)).toEqual(['y', 'h']);
    expect(find(graph, 'choose').attributes.get('then_branch')?.kind).toBe('graph');
    expect(value(graph, 'y').isUsed).toBe(true);
  });

  test('reserves the names of values, nodes and of what subgraphs define', () => {
    const { graph } = read();
    for (const name of ['x', 'W', 'h', 'mul', 'act', 'then_out', 'else_out'])
      expect(graph.uniqueName(name)).not.toBe(name);
  });

  test('gives open extents symbols of their own', () => {
    const sample = sampleModel();
    const dims = [{}, { dimValue: 0 }, { dimValue: -1 }, { dimParam: '?1' }, { dimValue: 3 }];
    sample.graph?.input?.push({
      name: 'open',
      type: { tensorType: { elemType: 1, shape: { dim: dims } } },
    });
    const bytes = encodeSample(sample);
    const model = decodeModel(bytes);
    const shape = value(model.graph, 'open').shape ?? [];
    expect(shape.map((d) => typeof d)).toEqual(['string', 'string', 'string', 'string', 'number']);
    expect(new Set(shape).size).toBe(5);
  });

  test.each([
    [
      'a name that nothing defines',
      { opType: 'Relu', name: 'bad', input: ['nowhere'], output: ['o'] },
    ],
    ['a result defined twice', { opType: 'Relu', name: 'bad', input: ['x'], output: ['h'] }],
    ['a result that is an input', { opType: 'Relu', name: 'bad', input: ['h'], output: ['x'] }],
    [
      'a result named twice by one node',
      { opType: 'Split', name: 'bad', input: ['h'], output: ['o', 'o'] },
    ],
    ['a node that reads itself', { opType: 'Relu', name: 'bad', input: ['o'], output: ['o'] }],
    ['no operator', { name: 'bad', input: ['h'], output: ['o'] }],
  ])('refuses %s, naming the node', (_title, node) => {
    const sample = sampleModel();
    sample.graph?.node?.push(node);
    expect(() => decodeModel(encodeSample(sample))).toThrow(/^model\/invalid[^]*bad/);
  });

  test('refuses a cycle', () => {
    const sample = sampleModel();
    sample.graph?.node?.push(
      { opType: 'Relu', name: 'c1', input: ['q'], output: ['p'] },
      { opType: 'Relu', name: 'c2', input: ['p'], output: ['q'] },
    );
    expect(() => decodeModel(encodeSample(sample))).toThrow(/^model\/invalid[^]*depends on itself/);
  });

  test('refuses an output that nothing defines', () => {
    const sample = sampleModel();
    sample.graph?.output?.push({ name: 'ghost' });
    expect(() => decodeModel(encodeSample(sample))).toThrow(/^model\/invalid[^]*ghost/);
  });
});

describe('writing', () => {
  const before = graphOf(encodeSample());

  /** Everything but the named node is as it was. */
  const onlyChanged = (bytes: Uint8Array, name: string): void => {
    const after = graphOf(bytes);
    const rest = (g: typeof after): unknown => ({
      ...g,
      node: g.node?.filter((n) => n.name !== name),
    });
    expect(rest(after)).toEqual(rest(before));
  };

  test('an operator, an attribute, a domain, a name', () => {
    const model = read();
    const act = find(model.graph, 'act');
    act.op = 'LeakyRelu';
    act.domain = 'custom';
    act.attributes = act.attributes.with({
      i: int(-3),
      big: int(2 ** 63),
      fs: { kind: 'floats', value: [0.5, 2] },
      is: ints([1, -1, 9007199254740991]),
      s: string('é'),
      ss: { kind: 'strings', value: ['a', ''] },
      t: tensor(new InlineData(Tensor.ints([4, -5]))),
      alpha: float(0.125),
    });
    const bytes = encodeModel(model).bytes;
    onlyChanged(bytes, 'act');
    const node = nodeNamed(graphOf(bytes), 'act');
    expect([node.opType, node.domain]).toEqual(['LeakyRelu', 'custom']);
    const back = find(decodeModel(bytes).graph, 'act').attributes;
    expect(back.int('i')).toBe(-3);
    expect(back.int('big')).toBe(2 ** 63);
    expect(back.get('fs')).toEqual({ kind: 'floats', value: [0.5, 2] });
    expect(back.ints('is')).toEqual([1, -1, 9007199254740991]);
    expect(back.string('s', '')).toBe('é');
    expect(back.get('ss')).toEqual({ kind: 'strings', value: ['a', ''] });
    expect(back.tensor('t')?.load().toArray()).toEqual([4, -5]);
    expect(back.tensor('t')?.dtype).toBe('int64');
    expect(back.float('alpha', 0)).toBe(0.125);
    act.name = 'activation';
    expect(nodeNamed(graphOf(encodeModel(model).bytes), 'activation').opType).toBe('LeakyRelu');
  });

  test('attributes that a changed node still has keep their bytes', () => {
    const model = read();
    const act = find(model.graph, 'act');
    act.setInput(0, value(model.graph, 'h'));
    const node = nodeNamed(graphOf(encodeModel(model).bytes), 'act');
    expect(node.attribute?.[0]?.docString).toBe('slope');
    expect(node.input).toEqual(['h']);
  });

  test('a value that subgraphs read is renamed inside them', () => {
    const model = read();
    value(model.graph, 'y').name = 'y2';
    const bytes = encodeModel(model).bytes;
    const node = nodeNamed(graphOf(bytes), 'choose');
    expect(node.attribute?.[0]?.g?.node?.[0]?.input).toEqual(['y2']);
    expect(node.attribute?.[1]?.g?.node?.[0]?.input).toEqual(['h']);
    expect(find(decodeModel(bytes).graph, 'choose').captures.map((v) => v.name)).toEqual([
      'y2',
      'h',
    ]);
  });

  test('nodes that are removed, added and moved', () => {
    const model = read();
    const { graph } = model;
    const add = [...graph.nodes].find((n) => n.op === 'Add');
    if (!add) throw new Error('no Add');
    graph.replaceUses(add.output(), value(graph, 'h'));
    graph.removeNode(add);
    const extra = graph.addNode({
      op: 'Abs',
      name: 'extra',
      inputs: [value(graph, 'h')],
      outputs: ['e'],
    });
    find(graph, 'act').setInput(0, extra.output());
    graph.sort();
    assertValid(model);
    const bytes = encodeModel(model).bytes;
    expect(graphOf(bytes).node?.map((n) => n.opType)).toEqual(['MatMul', 'Abs', 'Elu', 'If']);
    expect(graphOf(bytes).node?.[0]?.docString).toBe('product');
    expect(graphOf(bytes).quantizationAnnotation).toEqual(before.quantizationAnnotation);
    expect(decodeSample(bytes).functions).toEqual(decodeSample(encodeSample()).functions);
    expect(decodeSample(bytes).trainingInfo).toEqual(decodeSample(encodeSample()).trainingInfo);
  });

  test('constants that are replaced, added and removed', () => {
    const model = read();
    const { graph } = model;
    const w = value(graph, 'W');
    w.constant = new InlineData(Tensor.of('float32', [2, 2], [9, 8, 7, 6]));
    const add = [...graph.nodes].find((n) => n.op === 'Add');
    const b = value(graph, 'b');
    add?.setInput(1, graph.addConstant('b2', new InlineData(Tensor.of('float16', [2], [1.5, -2]))));
    graph.removeConstant(b);
    const initializers = graphOf(encodeModel(model).bytes).initializer ?? [];
    expect(initializers.map((t) => t.name)).toEqual(['W', 'c', 'b2']);
    expect(initializers[0]?.docString).toBe('weight');
    const again = decodeModel(encodeModel(model).bytes).graph;
    expect(value(again, 'W').constant?.load().toArray()).toEqual([9, 8, 7, 6]);
    expect(value(again, 'b2').constant?.load().toArray()).toEqual([1.5, -2]);
    expect(value(again, 'b2').constant?.dtype).toBe('float16');
  });

  test('a constant that becomes an input, and an output that is replaced', () => {
    const model = read();
    const { graph } = model;
    graph.constantToInput(value(graph, 'b'));
    const z = value(graph, 'z');
    const last = graph.addNode({ op: 'Abs', inputs: [z], outputs: ['w_abs'] });
    graph.replaceValue(z, last.output());
    assertValid(model);
    const after = graphOf(encodeModel(model).bytes);
    expect(after.input?.map((v) => v.name)).toEqual(['x', 'W', 'b']);
    expect(after.initializer?.map((v) => v.name)).toEqual(['W', 'c']);
    expect(after.output).toEqual(before.output);
    expect(after.node?.at(-1)?.input).toEqual(nodeNamed(after, 'choose').output);
  });

  test('types that changed, keeping what else the file says about the value', () => {
    const model = read();
    value(model.graph, 'x').type = { dtype: 'float32', shape: [16, 2] };
    value(model.graph, 'y').type = { dtype: 'float32', shape: [16, 2] };
    const after = graphOf(encodeModel(model).bytes);
    expect(after.input?.[0]?.docString).toBe('pixels');
    expect(Number(after.input?.[0]?.type?.tensorType?.shape?.dim?.[0]?.dimValue)).toBe(16);
    expect(after.valueInfo?.map((v) => v.name)).toEqual(['h']);
    const all = graphOf(encodeModel(model, { valueInfo: true }).bytes);
    expect(all.valueInfo?.map((v) => v.name)).toEqual(['h', 'y']);
  });

  test('what the model says about itself', () => {
    const model = read();
    model.opsets.set('', 17);
    model.opsets.set('extra', 1);
    model.metadata.set('k', 'v');
    model.irVersion = 9;
    const after = decodeSample(encodeModel(model).bytes);
    expect(after.opsetImport.map((o) => [o.domain, Number(o.version)])).toEqual([
      ['', 17],
      ['extra', 1],
    ]);
    expect(after.metadataProps.map((p) => p.key)).toEqual(['author', 'k']);
    expect(Number(after.irVersion)).toBe(9);
    expect([after.producerVersion, after.docString]).toEqual(['1', 'a model']);
  });
});

describe('a model made in memory', () => {
  const build = (): Model => {
    const model = new Model();
    model.opsets.set('', 13);
    model.metadata.set('made', 'here');
    const { graph } = model;
    const x = graph.addInput('x', { dtype: 'float32', shape: ['N', 2] });
    const w = graph.addConstant('w', new InlineData(Tensor.of('float32', [2, 2], [1, 2, 3, 4])));
    const mul = graph.addNode({ op: 'MatMul', inputs: [x, w], outputs: ['h'] });
    const clip = graph.addNode({
      op: 'Clip',
      inputs: [mul.output(), undefined, graph.addConstant('max', new InlineData(Tensor.scalar(5)))],
      outputs: ['y'],
    });
    clip.output().type = { dtype: 'float32', shape: ['N', 2] };
    graph.outputs.push(clip.output());
    return model;
  };

  test('is valid ONNX', () => {
    const bytes = encodeModel(build()).bytes;
    const model = decodeSample(bytes);
    expect([Number(model.irVersion), model.producerName]).toEqual([8, 'revnetify']);
    expect(model.metadataProps[0]?.value).toBe('here');
    expect(model.graph?.node?.[1]?.input).toEqual(['h', '', 'max']);
    expect(model.graph?.output?.[0]?.type?.tensorType?.shape?.dim?.[0]?.dimParam).toBe('N');
    const back = decodeModel(bytes);
    assertValid(back);
    expect(encodeModel(back).bytes).toEqual(bytes);
  });

  test('runs in ONNX Runtime', async () => {
    const ort = await import('onnxruntime-node');
    const session = await ort.InferenceSession.create(encodeModel(build()).bytes);
    const feed = new ort.Tensor('float32', [1, -1, 1, 1], [2, 2]);
    const { y } = await session.run({ x: feed });
    expect(Array.from(y?.data as Float32Array)).toEqual([-2, -2, 4, 5]);
    await session.release();
  });

  test('takes tensors and attributes over from another file without decoding them', () => {
    const donor = read();
    const model = build();
    const { graph } = model;
    const weight = value(donor.graph, 'W').constant;
    if (!(weight instanceof TensorData)) throw new Error('not lazy');
    weight.load = () => {
      throw new Error('decoded');
    };
    const taken = graph.addConstant('taken', weight);
    graph.addNode({
      op: 'Elu',
      inputs: [taken],
      outputs: ['u'],
      attributes: find(donor.graph, 'act').attributes,
    });
    const after = graphOf(encodeModel(model).bytes);
    expect(after.initializer?.at(-1)?.rawData).toEqual(
      graphOf(encodeSample()).initializer?.[0]?.rawData,
    );
    expect(after.node?.at(-1)?.attribute?.[0]?.docString).toBe('slope');
  });
});
