// The text form: parse(print(model)) equals the model.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import {
  Attributes,
  InlineData,
  Model,
  Tensor,
  float,
  int,
  ints,
  string,
  tensor,
} from '../../src/ir/index.js';
import type { BodyNode, ConstantData, Phase, Subgraph, Value } from '../../src/ir/index.js';
import { parse } from '../../src/ir/parse.js';
import { print } from '../../src/ir/print.js';
import { assertValid } from '../../src/ir/verify.js';
import { decodeModel, encodeModel } from '../../src/onnx/index.js';
import { encodeSample } from '../onnx/helpers.js';

const data = (v: ConstantData): unknown => [v.dtype, v.dims, v.load().toArray()];

const attributesOf = (attributes: Attributes): unknown =>
  [...attributes.entries()].map(([key, a]) => {
    if (a.kind === 'tensor') return [key, a.kind, data(a.value)];
    if (a.kind === 'graph') return [key, a.kind, subgraph(a.value)];
    return a.kind === 'graphs' ? [key, a.kind, a.value.map(subgraph)] : [key, a.kind, a.value];
  });

const bodies = (nodes: readonly BodyNode[]): unknown =>
  nodes.map((n) => ({ ...n, attributes: attributesOf(n.attributes) }));

const subgraph = (g: Subgraph): unknown => ({
  ...g,
  constants: g.constants.map((c) => [c.name, data(c.data)]),
  types: [...g.types],
  nodes: bodies(g.nodes),
});

/** Everything the text stands for, as plain data. */
function structure(model: Model): unknown {
  const name = (v: Value | undefined): string => v?.name ?? '';
  return {
    about: [model.irVersion, model.producerName, [...model.opsets], [...model.metadata]],
    name: model.graph.name,
    inputs: model.graph.inputs.map(name),
    outputs: model.graph.outputs.map(name),
    values: [...model.graph.values()].map((v) => [v.name, v.type, v.constant && data(v.constant)]),
    constants: [...model.graph.constants].map(name),
    nodes: [...model.graph.nodes].map((n) => ({
      about: [n.name, n.op, n.domain, n.overload, n.phase, n.origin],
      inputs: n.inputs.map(name),
      outputs: n.outputs.map(name),
      captures: n.captures.map(name),
      attributes: attributesOf(n.attributes),
    })),
    functions: model.functions.map((f) => ({
      ...f,
      opsets: [...f.opsets],
      defaults: attributesOf(f.defaults),
      nodes: bodies(f.nodes),
    })),
  };
}

function sample(): Model {
  const model = new Model();
  model.opsets.set('', 13).set('com.microsoft', 1);
  model.metadata.set('a "quoted" key', 'line\nbreak # not a comment');
  model.producerName = 'test';
  const { graph } = model;
  graph.name = 'main graph';
  const x = graph.addInput('x', { dtype: 'float32', shape: ['N', 'N*C/2', 3] });
  graph.addInput('any');
  graph.addInput('unranked', { dtype: 'float64', shape: undefined });
  const both = graph.addInput('both', { dtype: 'int64', shape: [2] });
  graph.attachConstant(both, new InlineData(Tensor.ints([1, -2])));
  const w = graph.addConstant(
    '123',
    new InlineData(
      Tensor.of(
        'float32',
        [20],
        Array.from({ length: 20 }, (_, i) => Math.fround(i / 7)),
      ),
    ),
  );
  const odd = graph.addConstant(
    'odd',
    new InlineData(Tensor.of('float32', [5], [-0, Infinity, -Infinity, NaN, 1e-30])),
  );
  const scalar = graph.addConstant('s', new InlineData(Tensor.scalar(0.1, 'float16')));
  const empty = graph.addConstant('e', new InlineData(Tensor.of('bool', [0, 4], [])));
  const a = graph.addNode({
    op: 'FusedMatMul',
    domain: 'com.microsoft',
    name: '/layer1/conv 1',
    inputs: [x, undefined, w, undefined],
    outputs: [undefined, 'h/0', 'onnx::Add_5'],
    attributes: {
      alpha: float(0.1),
      'odd name': int(-7),
      big: int(2 ** 63),
      axes: ints([0, -1]),
      none: ints([]),
      fs: { kind: 'floats', value: [1, -0.5, NaN] },
      mode: string('it\'s "\n'),
      names: { kind: 'strings', value: ['', '>', '#'] },
      value: tensor(new InlineData(Tensor.of('float32', [2, 1], [1.5, 2]))),
    },
    origin: 'old "name"',
  });
  a.output(1).type = { dtype: 'bfloat16', shape: [] };
  const b = graph.addNode({
    op: 'weird op',
    domain: 'my domain',
    name: 'b',
    inputs: [a.output(1), odd, scalar, empty],
    outputs: ['y'],
    phase: 'recompute',
  });
  b.addCapture(x);
  graph.addNode({
    op: 'Sink',
    name: 'sink',
    inputs: [b.output()],
    outputs: [],
    phase: 'update',
    origin: 'b',
  });
  graph.outputs.push(b.output(), x);
  assertValid(model);
  return model;
}

test('a model with everything in it survives', () => {
  const text = print(sample());
  expect(structure(parse(text))).toEqual(structure(sample()));
  expect(print(parse(text))).toBe(text);
});

test('a model reads as expected', () => {
  const model = new Model();
  model.opsets.set('', 13);
  const { graph } = model;
  const x = graph.addInput('x', { dtype: 'float32', shape: ['N', 2] });
  const b = graph.addConstant('b', new InlineData(Tensor.of('float32', [2], [1, -0.5])));
  const add = graph.addNode({ op: 'Add', name: 'add', inputs: [x, b], outputs: ['h'] });
  const elu = graph.addNode({
    op: 'Elu',
    name: 'elu',
    inputs: [add.output()],
    outputs: ['y'],
    attributes: { alpha: float(2) },
    phase: 'recompute',
    origin: 'act',
  });
  elu.output().type = { dtype: 'float32', shape: ['N', 2] };
  graph.outputs.push(elu.output());
  expect(print(model)).toBe(`<
  ir_version: 8,
  opset_import: ["": 13],
  producer_name: "",
  metadata_props: []
>
graph (float[N,2] x) => (y)
<
  float[2] b = {1, -0.5}
  float[N,2] y
>
{
  [add] h = Add (x, b)
  [elu] y = Elu <alpha: float = 2> (h)  #! recompute from "act"
}
`);
});

/** A Loop with an If in it, a list of graphs, a function with all that a function can have. */
function nested(): Model {
  const weight = new InlineData(
    Tensor.of(
      'float32',
      [20],
      Array.from({ length: 20 }, (_, i) => i / 4),
    ),
  );
  const node = (op: string, inputs: string[], outputs: string[], more = {}): BodyNode => ({
    name: `${op} of ${outputs.join()}`,
    op,
    domain: '',
    overload: '',
    inputs,
    outputs,
    attributes: new Attributes({}),
    ...more,
  });
  const branch = (name: string, from: string): Subgraph => ({
    name,
    inputs: [],
    outputs: [`${name}_out`],
    constants: [{ name: `${name} w`, data: weight }],
    types: new Map([[`${name}_out`, { dtype: 'float32', shape: ['?1', 20] }]]),
    nodes: [node('Mul', [from, `${name} w`], [`${name}_out`])],
  });
  const body: Subgraph = {
    name: 'the body',
    inputs: [
      { name: 'i', type: { dtype: 'int64', shape: [] } },
      { name: 'go', type: undefined },
      { name: 'state', type: { dtype: 'float32', shape: undefined } },
    ],
    outputs: ['go', 'next', 'x'],
    constants: [],
    types: new Map(),
    nodes: [
      node('If', ['go'], ['next'], {
        attributes: new Attributes({
          then_branch: { kind: 'graph', value: branch('then', 'state') },
          else_branch: { kind: 'graph', value: branch('else', 'x') },
        }),
      }),
    ],
  };
  const model = new Model();
  model.opsets.set('', 17).set('own', 1);
  const { graph } = model;
  const [x, c] = [graph.addInput('x'), graph.addInput('c')];
  const loop = graph.addNode({
    op: 'Loop',
    name: 'loop',
    inputs: [undefined, c, x],
    outputs: ['last', 'all'],
    attributes: { body: { kind: 'graph', value: body } },
  });
  loop.addCapture(x);
  const call = graph.addNode({
    op: 'Scale',
    domain: 'own',
    overload: 'a second',
    name: 'call',
    inputs: [loop.output(1)],
    outputs: ['y'],
    attributes: { several: { kind: 'graphs', value: [branch('p', 'c'), branch('q', 'last')] } },
  });
  call.addCapture(c);
  call.addCapture(loop.output());
  graph.outputs.push(call.output());
  model.functions = [
    {
      domain: 'own',
      name: 'Scale',
      overload: 'a second',
      inputs: ['a', 'b b'],
      outputs: ['r'],
      attributes: ['several', 'needed'],
      defaults: new Attributes({ by: float(0.5), on: { kind: 'graph', value: branch('d', 'a') } }),
      opsets: new Map([['', 15]]),
      nodes: [
        node('Elu', ['a', '', 'b b'], ['', 'r'], {
          attributes: new Attributes({
            alpha: { kind: 'reference', value: { name: 'by', kind: 'float' } },
          }),
        }),
      ],
    },
    {
      domain: '',
      name: 'Nothing',
      overload: '',
      inputs: [],
      outputs: [],
      attributes: [],
      defaults: new Attributes({}),
      opsets: new Map(),
      nodes: [],
    },
  ];
  assertValid(model);
  return model;
}

describe('graphs inside nodes, and functions', () => {
  test('survive as text', () => {
    const text = print(nested());
    expect(text).not.toContain('…');
    expect(structure(parse(text))).toEqual(structure(nested()));
    expect(print(parse(text))).toBe(text);
  });

  test('survive as ONNX, and from it as text', () => {
    const read = decodeModel(encodeModel(nested()).bytes);
    read.producerName = '';
    expect(structure(read)).toEqual(structure(nested()));
    expect(print(read)).toBe(print(nested()));
    const sample = decodeModel(encodeSample());
    expect(structure(parse(print(sample)))).toEqual(structure(sample));
  });

  test('name the values they read as these are called now', () => {
    const model = nested();
    const [x, c] = model.graph.inputs;
    if (!x || !c) throw new Error('no inputs');
    x.name = 'new x';
    const other = model.graph.addInput('other');
    model.graph.replaceUses(c, other);
    assertValid(model);
    const back = parse(print(model));
    assertValid(back);
    expect([...back.graph.nodes].map((n) => n.captures.map((v) => v.name))).toEqual([
      ['new x'],
      ['other', 'last'],
    ]);
    // What is written says the same.
    const read = decodeModel(encodeModel(model).bytes);
    read.producerName = '';
    expect(print(read)).toBe(print(model));
  });
});

test('large constants are elided on request, and then have no data', () => {
  const text = print(sample(), { elide: true });
  expect(text).toContain('= …');
  expect(text).not.toContain('base64');
  const back = parse(text);
  const large = [...back.graph.constants].find((v) => v.name === '123');
  expect(large?.constant?.dims).toEqual([20]);
  expect(() => large?.constant?.load()).toThrow(/^model\/missing-weights/);
});

test('names of any kind survive', () => {
  fc.assert(
    fc.property(
      fc.array(fc.string({ minLength: 1, unit: 'binary' })),
      fc.constantFrom<Phase>('forward', 'backward'),
      (names, phase) => {
        const model = new Model();
        let last = model.graph.addInput('x');
        for (const name of names)
          last = model.graph
            .addNode({
              op: name,
              domain: name,
              name,
              inputs: [last],
              outputs: [model.graph.uniqueName(name) + '!'],
              origin: name,
              phase,
              attributes: { [name]: string(name) },
            })
            .output();
        model.graph.outputs.push(last);
        expect(structure(parse(print(model)))).toEqual(structure(model));
      },
    ),
  );
});

describe('text that cannot be read is refused with its line', () => {
  const text = print(sample());
  test.each([
    ['', 'line 1'],
    ['float[2] b = {1}', 'line 1'],
    [text.replace('(x, "",', '(nowhere, "",'), 'nowhere'],
    [text.replace('float16 s', 'float17 s'), 'float17'],
    [text.replace('recompute', 'replay'), 'line'],
    [text.replace('{1, -2}', '{1}'), '1 elements for shape \\[2\\]'],
    [text.replace(': int =', ': opaque ='), 'opaque'],
    [text.replace('y = ', '"h/0" = '), 'second time'],
    [text.slice(0, -3), 'the end'],
    [text + '}', 'unexpected'],
    [text.replace('[0, -1]', '[0, -1'), 'unexpected'],
    [text.replace('ir_version', '%'), 'line 2'],
  ])('%#', (bad, why) => {
    expect(bad).not.toBe(text);
    expect(() => parse(bad)).toThrow(new RegExp(`^model/invalid[^]*${why}`));
  });
});
