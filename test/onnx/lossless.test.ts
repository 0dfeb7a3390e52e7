// What has not changed is written byte for byte.

import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import onnxProto from 'onnx-proto';
import { describe, expect, test } from 'vitest';
import { createState, importPipeline, runPipeline } from '../../passes/index.js';
import type { Node } from '../../src/ir/index.js';
import { decodeModel, encodeModel, readModel, writeModel } from '../../src/onnx/index.js';
import {
  FUTURE,
  encodeSample,
  field,
  floats,
  join,
  sampleModel,
  utf8,
  varint,
  varintField,
} from './helpers.js';

const proto = onnxProto.onnx;
const same = (bytes: Uint8Array): void => {
  expect(Buffer.from(encodeModel(decodeModel(bytes)).bytes).equals(Buffer.from(bytes))).toBe(true);
};

/** A model written by hand, with fields no one knows at every level. */
function futureModel(): Uint8Array {
  const tensor = join(
    varintField(1, 2),
    varintField(2, 1),
    FUTURE,
    field(8, 'w'),
    field(9, floats(1, 2)),
  );
  const attribute = join(
    field(1, 'alpha'),
    varintField(20, 1),
    varint(2 * 8 + 5),
    floats(2),
    FUTURE,
  );
  const node = join(
    FUTURE,
    field(1, 'x'),
    field(1, 'w'),
    field(2, 'y'),
    field(4, 'Custom'),
    field(5, attribute),
    field(8, 'overload'),
    field(9, join(field(1, 'key'), field(2, 'value'))),
    field(10, field(1, 'device')),
  );
  const info = (name: string): Uint8Array => join(FUTURE, field(1, name));
  const graph = join(
    field(11, info('x')),
    FUTURE,
    field(5, tensor),
    field(1, node),
    field(12, info('y')),
    field(16, join(field(1, 'k'), field(2, 'v'))),
  );
  return join(
    FUTURE,
    varintField(1, 14),
    field(8, join(field(1, ''), varintField(2, 24))),
    field(7, graph),
    field(26, field(1, 'configuration')),
    FUTURE,
  );
}

describe('an unchanged model', () => {
  test('of every kind of entity', () => same(encodeSample()));

  test('with unknown fields at every level', () => same(futureModel()));

  test('with lengths and tags that are encoded in more bytes than needed', () => {
    const long = (value: number): Uint8Array => join(Uint8Array.of(value | 128), Uint8Array.of(0));
    const node = join(field(2, 'y'), long(4 * 8 + 2), long(4), utf8('Relu'), field(1, 'x'));
    const graph = join(long(1 * 8 + 2), long(node.length), node, field(11, field(1, 'x')));
    same(
      join(
        varintField(1, 8),
        long(7 * 8 + 2),
        long(graph.length),
        graph,
        field(8, varintField(2, 13)),
      ),
    );
  });

  test('whose nodes are not in topological order', () => {
    const sample = sampleModel();
    sample.graph?.node?.reverse();
    const bytes = encodeSample(sample);
    const model = decodeModel(bytes);
    expect([...model.graph.nodes].map((n) => n.op)).toEqual(['MatMul', 'Add', 'Elu', 'If']);
    same(bytes);
  });

  test('whose nodes have no names, or the same', () => {
    const sample = sampleModel();
    for (const node of sample.graph?.node ?? []) node.name = node.opType === 'Add' ? 'mul' : '';
    const bytes = encodeSample(sample);
    const names = [...decodeModel(bytes).graph.nodes].map((n) => n.name);
    expect(new Set(names).size).toBe(4);
    expect(names.every((n) => n !== '')).toBe(true);
    same(bytes);
  });

  test('with optional operands and results left out', () => {
    const sample = sampleModel();
    sample.graph?.node?.push({
      opType: 'Q',
      name: 'q',
      input: ['h', '', 'W', ''],
      output: ['', 'q1', ''],
    });
    const bytes = encodeSample(sample);
    const q = [...decodeModel(bytes).graph.nodes].find((n) => n.name === 'q');
    expect(q?.inputs.map((v) => v?.name)).toEqual(['h', undefined, 'W', undefined]);
    expect(q?.outputs.map((v) => v?.name)).toEqual([undefined, 'q1', undefined]);
    same(bytes);
  });

  test('after edits that were undone', () => {
    const bytes = encodeSample();
    const model = decodeModel(bytes);
    const [mul] = model.graph.nodes;
    const w = mul?.input(1);
    mul?.setInput(1, mul.input(0));
    mul?.setInput(1, w);
    if (mul) mul.attributes = mul.attributes.with({});
    expect(Buffer.from(encodeModel(model).bytes).equals(Buffer.from(bytes))).toBe(true);
  });

  test('from file to file, in windows and at once', () => {
    const folder = mkdtempSync(joinPath(tmpdir(), 'revnetify-'));
    try {
      for (const bytes of [encodeSample(), futureModel()])
        for (const inMemory of [0, 1 << 20]) {
          const from = joinPath(folder, 'from.onnx');
          const to = joinPath(folder, 'sub', 'to.onnx');
          writeFileSync(from, bytes);
          writeModel(readModel(from, { inMemory }), to);
          expect(readFileSync(to).equals(bytes)).toBe(true);
        }
    } finally {
      rmSync(folder, { recursive: true });
    }
  });

  test('larger than any window', () => {
    const node: { opType: string; input: string[]; output: string[] }[] = [];
    for (let i = 0; i < 3000; i++)
      node.push({ opType: 'Relu', input: [i ? `v${i - 1}` : 'x'], output: [`v${i}`] });
    const initializer = [0, 1, 2].map((i) => ({
      name: `w${i}`,
      dims: [30_000],
      dataType: 1,
      rawData: new Uint8Array(120_000).fill(i + 1),
    }));
    const bytes = encodeSample({
      irVersion: 8,
      opsetImport: [{ version: 13 }],
      graph: {
        name: 'deep',
        node,
        initializer,
        input: [{ name: 'x' }],
        output: [{ name: 'v2999' }],
      },
    });
    const folder = mkdtempSync(joinPath(tmpdir(), 'revnetify-'));
    try {
      const path = joinPath(folder, 'deep.onnx');
      writeFileSync(path, bytes);
      const model = readModel(path, { inMemory: 0 });
      expect(model.graph.nodes.size).toBe(3000);
      const weight = [...model.graph.constants][1]?.constant?.bytes() ?? new Uint8Array(0);
      expect(initializer[1] && Buffer.from(weight).equals(initializer[1].rawData)).toBe(true);
      expect(Buffer.from(encodeModel(model).bytes).equals(bytes)).toBe(true);
    } finally {
      rmSync(folder, { recursive: true });
    }
  });
});

describe('a changed model keeps', () => {
  const edited = (edit: (node: Node) => void): Uint8Array => {
    const model = decodeModel(futureModel());
    for (const node of model.graph.nodes) edit(node);
    return encodeModel(model).bytes;
  };
  const count = (bytes: Uint8Array): number =>
    Buffer.from(bytes).toString('latin1').split('from the future').length - 1;
  const before = count(futureModel());

  test('unknown fields and metadata of the node that is edited', () => {
    expect(before).toBe(8);
    const bytes = edited((node) => node.setInput(0, node.input(1)));
    expect(count(bytes)).toBe(before);
    expect(Buffer.from(bytes).includes('overload')).toBe(true);
    expect(
      Buffer.from(bytes).includes(Buffer.from(field(9, join(field(1, 'key'), field(2, 'value'))))),
    ).toBe(true);
    expect(proto.ModelProto.decode(bytes).graph?.node?.[0]?.input).toEqual(['w', 'w']);
  });

  test('unknown fields of values that are renamed', () => {
    const model = decodeModel(futureModel());
    for (const value of model.graph.values()) value.name = `${value.name}_new`;
    const bytes = encodeModel(model).bytes;
    expect(count(bytes)).toBe(before);
    const graph = proto.ModelProto.decode(bytes).graph;
    expect(graph?.node?.[0]?.input).toEqual(['x_new', 'w_new']);
    expect(graph?.node?.[0]?.output).toEqual(['y_new']);
    expect(graph?.initializer?.[0]?.name).toBe('w_new');
    expect(graph?.input?.[0]?.name).toBe('x_new');
    expect(graph?.output?.[0]?.name).toBe('y_new');
  });
});

test('a converted model keeps what the file says of nodes and values no pass touched', () => {
  const type = (...dims: number[]): object => ({
    tensorType: { elemType: 1, shape: { dim: dims.map((d) => ({ dimValue: d })) } },
  });
  const said = (number: number, what: string): Uint8Array =>
    field(number, join(field(1, 'source'), field(2, `${what} of the net`)));
  const node = (op: string, name: string, inputs: string[], output: string): Uint8Array =>
    join(
      ...inputs.map((input) => field(1, input)),
      field(2, output),
      field(3, name),
      field(4, op),
      field(6, `doc of ${name}`),
      said(9, name),
      FUTURE,
    );
  const info = (name: string): Uint8Array =>
    join(
      field(1, name),
      field(2, proto.TypeProto.encode(type(2, 2)).finish()),
      field(3, `doc of ${name}`),
      said(4, name),
    );
  const weight = join(
    varintField(1, 2),
    varintField(1, 2),
    varintField(2, 1),
    field(8, 'w'),
    field(9, floats(1, 2, 3, 4)),
    field(12, 'doc of w'),
    said(16, 'w'),
  );
  const nodes = [
    node('MatMul', 'touched', ['x', 'w'], 'a'),
    node('Relu', 'kept', ['a'], 'b'),
    node('Identity', 'gone', ['b'], 'c'),
    node('Abs', 'last', ['c'], 'y'),
  ];
  const bytes = join(
    varintField(1, 8),
    field(6, 'doc of the model'),
    field(7, join(...nodes.map((n) => field(1, n)), field(5, weight), field(10, 'doc of the graph'),
      said(16, 'graph'), field(11, info('x')), field(12, info('y')), field(13, info('a')))),
    field(8, varintField(2, 17)),
    said(14, 'model'),
  ); // prettier-ignore
  const model = decodeModel(bytes);
  runPipeline(importPipeline, createState(model));
  const [touched] = model.graph.nodes;
  if (touched) touched.name = 'renamed';
  const written = Buffer.from(encodeModel(model).bytes);
  // Untouched nodes byte for byte; an edited one keeps its doc string, metadata and what no one knows.
  expect(written.includes(Buffer.from(field(1, nodes[1] ?? new Uint8Array())))).toBe(true);
  const graph = proto.ModelProto.decode(written).graph;
  expect(graph?.node?.map((n) => [n.name, n.docString])).toEqual([
    ['renamed', 'doc of touched'],
    ['kept', 'doc of kept'],
    ['last', 'doc of last'],
  ]);
  for (const what of ['touched', 'kept', 'last', 'x', 'y', 'w', 'graph', 'model'])
    expect(written.includes(`${what} of the net`), what).toBe(true);
  for (const what of ['x', 'y', 'a', 'w', 'the graph', 'the model'])
    expect(written.includes(`doc of ${what}`), what).toBe(true);
  expect(written.includes('gone of the net')).toBe(false);
  expect(written.toString('latin1').split('from the future')).toHaveLength(3 + 1);
});
