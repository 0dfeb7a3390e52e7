// Models with functions of their own: kept in the file, and said by name where they stop the compiler.

import { expect, test } from 'vitest';
import { compile } from '../../src/compiler/index.js';
import { decodeModel, encodeModel, localFunctions } from '../../src/onnx/index.js';
import { encodeSample, graphOf } from '../onnx/helpers.js';

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
      node: [{ opType: 'Add', input: ['x', 'x'], output: ['y'] }],
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

test('are named in the message, with what to do', () => {
  const model = decodeModel(bytes);
  expect(localFunctions(model)).toEqual(new Set(['own.Twice']));
  expect(() => compile(model, { name: 'm', source: 'm.onnx' })).toThrow(
    /^couple\/nothing[^]*own\.Twice \(a function of the model itself, 2 ×\)[^]*inline the functions first/,
  );
});

test('stay in a model that is changed', () => {
  const model = decodeModel(bytes);
  for (const node of model.graph.nodes) node.name = `${node.name}.new`;
  const written = encodeModel(model).bytes;
  expect(graphOf(written).node?.[0]?.name).toBe('f.new');
  expect(localFunctions(decodeModel(written))).toEqual(new Set(['own.Twice']));
});
