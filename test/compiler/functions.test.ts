// Models with functions of their own: kept in a file that is changed, gone from what the compiler writes.

import { expect, test } from 'vitest';
import { createState, importPipeline, runPipeline } from '../../passes/index.js';
import { decodeModel, encodeModel } from '../../src/onnx/index.js';
import { decodeSample, encodeSample, graphOf } from '../onnx/helpers.js';

const must = <T>(value: T | undefined): T => {
  if (value === undefined) throw new Error('it is not there');
  return value;
};

/** Two residual blocks whose branches call a function. */
const bytes = encodeSample({
  irVersion: 8,
  opsetImport: [{ version: 17 }, { domain: 'own', version: 1 }],
  functions: [
    {
      name: 'Twice',
      domain: 'own',
      input: ['x'],
      output: ['y'],
      node: [
        { opType: 'Relu', input: ['x'], output: ['h'] },
        { opType: 'Add', input: ['h', 'h'], output: ['y'] },
      ],
      opsetImport: [{ version: 17 }],
    },
  ],
  graph: {
    name: 'g',
    input: [
      {
        name: 'x',
        type: { tensorType: { elemType: 1, shape: { dim: [{ dimParam: 'N' }, { dimValue: 4 }] } } },
      },
    ],
    output: [{ name: 'b' }],
    node: [
      { opType: 'Twice', domain: 'own', name: 'f', input: ['x'], output: ['fx'] },
      { opType: 'Add', name: 'add', input: ['x', 'fx'], output: ['a'] },
      { opType: 'Twice', domain: 'own', name: 'g', input: ['a'], output: ['ga'] },
      { opType: 'Add', name: 'add2', input: ['a', 'ga'], output: ['b'] },
    ],
  },
});

test('are written out: the model that is converted holds none', () => {
  const state = createState(decodeModel(bytes));
  runPipeline(importPipeline, state);
  expect([...state.model.graph.nodes].map((n) => n.op)).toEqual(
    ['Relu', 'Add', 'Add', 'Relu', 'Add', 'Add'],
  ); // prettier-ignore
  expect(decodeSample(encodeModel(state.model).bytes).functions).toEqual([]);
  expect(state.notes.join()).toContain("2 calls of the model's own functions");
});

test('stay in a model that is changed', () => {
  const model = decodeModel(bytes);
  for (const node of model.graph.nodes) node.name = `${node.name}.new`;
  const written = encodeModel(model).bytes;
  expect(graphOf(written).node?.[0]?.name).toBe('f.new');
  expect(decodeSample(written).functions).toEqual(decodeSample(bytes).functions);
});

test('that are taken away one by one leave the others as they were', () => {
  const model = decodeModel(bytes);
  model.functions = [...model.functions, { ...must(model.functions[0]), name: 'Other' }];
  const two = decodeSample(encodeModel(model).bytes).functions;
  expect(two.map((f) => f.name)).toEqual(['Twice', 'Other']);
  const said = (f: (typeof two)[number] | undefined): unknown => [
    f?.input,
    f?.output,
    f?.domain,
    f?.node?.map((n) => [n.opType, n.input, n.output]),
    f?.opsetImport?.map((o) => Number(o.version)),
  ];
  expect(said(two[1])).toEqual(said(two[0]));
  model.functions = [];
  expect(decodeSample(encodeModel(model).bytes).functions).toEqual([]);
});
