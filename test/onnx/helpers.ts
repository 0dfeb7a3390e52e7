// Small models for the tests, encoded by onnx-proto (an encoder that shares nothing with ours), and raw protobuf
// fields to put things into them that no version of ONNX knows.

import onnxProto from 'onnx-proto';
import type { onnx } from 'onnx-proto';

const { ModelProto } = onnxProto.onnx;
const { AttributeType } = onnxProto.onnx.AttributeProto;

export const utf8 = (text: string): Uint8Array => new TextEncoder().encode(text);

export function join(...parts: Uint8Array[]): Uint8Array {
  return new Uint8Array(Buffer.concat(parts));
}

export function varint(value: number): Uint8Array {
  const out: number[] = [];
  for (; value >= 128; value = Math.floor(value / 128)) out.push((value % 128) | 128);
  return Uint8Array.from([...out, value]);
}

/** A length-delimited field. */
export const field = (number: number, content: Uint8Array | string): Uint8Array => {
  const bytes = typeof content === 'string' ? utf8(content) : content;
  return join(varint(number * 8 + 2), varint(bytes.length), bytes);
};

export const varintField = (number: number, value: number): Uint8Array =>
  join(varint(number * 8), varint(value));

/** Fields of every wire type that no message of ONNX declares. */
export const FUTURE = join(
  varintField(4001, 300),
  field(4002, 'from the future'),
  join(varint(4003 * 8 + 1), new Uint8Array(8).fill(7)),
  join(varint(4004 * 8 + 5), new Uint8Array(4).fill(9)),
  join(varint(4005 * 8 + 3), varintField(1, 5), varint(4005 * 8 + 4)),
);

const floatType = (...dims: (number | string)[]): onnx.ITypeProto => ({
  tensorType: {
    elemType: 1,
    shape: { dim: dims.map((d) => (typeof d === 'number' ? { dimValue: d } : { dimParam: d })) },
  },
});

export const floats = (...values: number[]): Uint8Array =>
  new Uint8Array(Float32Array.from(values).buffer);

/** y = Relu(x·W + b); z = Clip-like If on the sum: every kind of entity in one small graph. */
export function sampleModel(): onnx.IModelProto {
  const branch = (name: string, from: string): onnx.IGraphProto => ({
    name,
    node: [{ opType: 'Neg', input: [from], output: [`${name}_out`], name: `${name}_neg` }],
    output: [{ name: `${name}_out`, type: floatType('N', 2) }],
  });
  return {
    irVersion: 8,
    producerName: 'test',
    producerVersion: '1',
    docString: 'a model',
    opsetImport: [{ domain: '', version: 13 }],
    metadataProps: [{ key: 'author', value: 'tests' }],
    functions: [{ name: 'f', input: ['a'], output: ['b'], node: [], domain: 'local' }],
    trainingInfo: [{ updateBinding: [{ key: 'W', value: 'W_new' }] }],
    graph: {
      name: 'g',
      docString: 'a graph',
      input: [
        { name: 'x', type: floatType('N', 2), docString: 'pixels' },
        { name: 'W', type: floatType(2, 2) },
      ],
      output: [{ name: 'z', type: floatType('N', 2), docString: 'result' }],
      valueInfo: [{ name: 'h', type: floatType('N', 2), docString: 'hidden' }],
      initializer: [
        { name: 'W', dims: [2, 2], dataType: 1, rawData: floats(1, 2, 3, 4), docString: 'weight' },
        { name: 'b', dims: [2], dataType: 1, floatData: [0.5, -0.5] },
        { name: 'c', dims: [], dataType: 9, int32Data: [1] },
      ],
      quantizationAnnotation: [
        { tensorName: 'h', quantParameterTensorNames: [{ key: 'SCALE_TENSOR', value: 's' }] },
      ],
      node: [
        { opType: 'MatMul', name: 'mul', input: ['x', 'W'], output: ['h'], docString: 'product' },
        { opType: 'Add', input: ['h', 'b'], output: ['s'] },
        {
          opType: 'Elu',
          name: 'act',
          input: ['s'],
          output: ['y'],
          attribute: [{ name: 'alpha', type: AttributeType.FLOAT, f: 0.25, docString: 'slope' }],
        },
        {
          opType: 'If',
          name: 'choose',
          input: ['c'],
          output: ['z'],
          attribute: [
            { name: 'then_branch', type: AttributeType.GRAPH, g: branch('then', 'y') },
            { name: 'else_branch', type: AttributeType.GRAPH, g: branch('else', 'h') },
          ],
        },
      ],
    },
  };
}

export const encodeSample = (model: onnx.IModelProto = sampleModel()): Uint8Array =>
  Uint8Array.from(ModelProto.encode(model).finish());

/** The model as the independent decoder sees it. */
export const decodeSample = (bytes: Uint8Array): onnx.ModelProto => ModelProto.decode(bytes);

export const graphOf = (bytes: Uint8Array): onnx.IGraphProto => decodeSample(bytes).graph ?? {};

export const nodeNamed = (graph: onnx.IGraphProto, name: string): onnx.INodeProto => {
  const node = graph.node?.find((n) => n.name === name);
  if (!node) throw new Error(`no node ${name}`);
  return node;
};
