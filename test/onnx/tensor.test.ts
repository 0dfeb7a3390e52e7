// Elements of tensors: every type, in raw_data and in the typed fields, and what is wrong with them.

import onnxProto from 'onnx-proto';
import { describe, expect, test } from 'vitest';
import { InlineData, Tensor } from '../../src/ir/index.js';
import type { DataType } from '../../src/ir/index.js';
import { fromFloat16, toBfloat16, toFloat16, fromBfloat16 } from '../../src/onnx/numeric.js';
import { decodeModel, encodeModel, readTensor, writeTensor } from '../../src/onnx/index.js';
import { encodeSample, field, floats, join, sampleModel, varintField } from './helpers.js';

const { TensorProto } = onnxProto.onnx;
type Fields = Parameters<typeof TensorProto.encode>[0];
const read = (message: Fields): ReturnType<typeof readTensor> =>
  readTensor(Uint8Array.from(TensorProto.encode(message).finish()));

const CASES: [DataType, number, Fields, number[]][] = [
  ['float32', 1, { floatData: [1.5, -2, 2 ** 40] }, [1.5, -2, 2 ** 40]],
  ['uint8', 2, { int32Data: [0, 255, 7] }, [0, 255, 7]],
  ['int8', 3, { int32Data: [-128, 127, -1] }, [-128, 127, -1]],
  ['uint16', 4, { int32Data: [0, 65535, 256] }, [0, 65535, 256]],
  ['int16', 5, { int32Data: [-32768, 32767, -1] }, [-32768, 32767, -1]],
  ['int32', 6, { int32Data: [-(2 ** 31), 2 ** 31 - 1, -1] }, [-(2 ** 31), 2 ** 31 - 1, -1]],
  ['int64', 7, { int64Data: [-(2 ** 53) + 1, 2 ** 53 - 1, -1] }, [-(2 ** 53) + 1, 2 ** 53 - 1, -1]],
  ['bool', 9, { int32Data: [1, 0, 1] }, [1, 0, 1]],
  ['float16', 10, { int32Data: [0x3c00, 0xc000, 0x0001] }, [1, -2, 2 ** -24]],
  ['float64', 11, { doubleData: [Math.PI, -0.1, 1e300] }, [Math.PI, -0.1, 1e300]],
  ['uint32', 12, { uint64Data: [0, 2 ** 32 - 1, 5] }, [0, 2 ** 32 - 1, 5]],
  ['uint64', 13, { uint64Data: [0, 2 ** 53, 5] }, [0, 2 ** 53, 5]],
  ['bfloat16', 16, { int32Data: [0x3f80, 0xc000, 0x7f80] }, [1, -2, Infinity]],
];

describe.each(CASES)('%s', (dtype, dataType, data, want) => {
  test('from its typed field', () => {
    const tensor = read({ dims: [3], dataType, ...data });
    expect([tensor.dtype, tensor.dims]).toEqual([dtype, [3]]);
    expect(tensor.load().toArray()).toEqual(want);
  });

  test('from raw_data, which bytes() returns as it is', () => {
    const rawData = read({ dims: [3], dataType, ...data }).bytes();
    const tensor = read({ dims: [3], dataType, rawData });
    expect(tensor.load().toArray()).toEqual(want);
    expect(tensor.bytes()).toEqual(rawData);
  });

  test('written and read again', () => {
    const bytes = writeTensor(new InlineData(Tensor.of(dtype, [3, 1], want)), 'name');
    expect(TensorProto.decode(bytes).dataType).toBe(dataType);
    const back = readTensor(bytes);
    expect([back.name, back.dims]).toEqual(['name', [3, 1]]);
    expect(back.load().toArray()).toEqual(want);
  });

  test('of the wrong size is refused', () => {
    expect(() => read({ dims: [4], dataType, ...data }).load()).toThrow(/^model\/damaged/);
    expect(() => read({ dims: [2], dataType, ...data }).load()).toThrow(/^model\/damaged/);
    const rawData = new Uint8Array(1023);
    expect(() => read({ dims: [512], dataType, rawData }).bytes()).toThrow(/^model\/damaged/);
  });

  test('without data is refused when it is loaded, not before', () => {
    const tensor = read({ dims: [1 << 20, 1 << 20], dataType, name: 'w' });
    expect(() => tensor.load()).toThrow(/^model\/missing-weights[^]*w/);
    expect(() => tensor.bytes()).toThrow(/^model\/missing-weights/);
  });

  test('may be empty', () => {
    expect(read({ dims: [0, 3], dataType }).load().size).toBe(0);
    expect(read({ dims: [0, 3], dataType, rawData: new Uint8Array(0) }).bytes()).toHaveLength(0);
  });
});

test('numbers that are not packed, and packed in several runs, are read alike', () => {
  const loose = join(
    varintField(1, 3),
    varintField(2, 7),
    varintField(7, 1),
    varintField(7, 2),
    field(7, Uint8Array.of(3)),
  );
  expect(readTensor(loose).load().toArray()).toEqual([1, 2, 3]);
});

test('strings have no numbers', () => {
  const tensor = read({ dims: [2], dataType: 8, stringData: [Buffer.from('a'), Buffer.from('é')] });
  expect(tensor.strings()).toEqual(['a', 'é']);
  expect(() => tensor.load()).toThrow(/^op\/unsupported/);
});

test('element types that are not understood are carried', () => {
  const bytes = Uint8Array.from(
    TensorProto.encode({ dims: [3], dataType: 21, name: 'q', rawData: new Uint8Array(2) }).finish(),
  );
  const tensor = readTensor(bytes);
  expect(tensor.dtype).toBe('other');
  expect(TensorProto.decode(writeTensor(tensor, 'q')).dataType).toBe(21);
  expect(() => tensor.load()).toThrow(/^op\/unsupported/);
});

test('negative dims are refused', () => {
  expect(() => read({ dims: [-1], dataType: 1 })).toThrow(/^model\/invalid/);
});

test('float16 is exact both ways for all its values', () => {
  for (let bits = 0; bits < 65536; bits++) {
    const value = fromFloat16(bits);
    if (Number.isNaN(value)) expect(Number.isNaN(fromFloat16(toFloat16(value)))).toBe(true);
    else if (toFloat16(value) !== bits) expect(toFloat16(value)).toBe(bits);
  }
});

test('float16 and bfloat16 round to the nearest, ties to even', () => {
  expect(fromFloat16(toFloat16(2049))).toBe(2048);
  expect(fromFloat16(toFloat16(2051))).toBe(2052);
  expect(fromFloat16(toFloat16(2 ** -25))).toBe(0);
  expect(fromFloat16(toFloat16(2 ** -25 * 1.01))).toBe(2 ** -24);
  expect(fromFloat16(toFloat16(65519))).toBe(65504);
  expect(fromFloat16(toFloat16(65520))).toBe(Infinity);
  expect(fromFloat16(toFloat16(-0.1))).toBeCloseTo(-0.1, 4);
  expect(fromBfloat16(toBfloat16(257))).toBe(256);
  expect(fromBfloat16(toBfloat16(259))).toBe(260);
});

test('a sparse initializer is dense when loaded', () => {
  const sample = sampleModel();
  const sparse = (indices: number[], dims: number[]): object => ({
    values: { name: 'sp', dims: [2], dataType: 1, rawData: floats(5, 7) },
    indices: { dims, dataType: 7, int64Data: indices },
    dims: [2, 3],
  });
  const load = (indices: number[], dims: number[]): number[] => {
    if (sample.graph) sample.graph.sparseInitializer = [sparse(indices, dims)];
    const bytes = encodeSample(sample);
    const model = decodeModel(bytes);
    expect(encodeModel(model).bytes).toEqual(bytes);
    const value = [...model.graph.constants].find((v) => v.name === 'sp');
    return value?.constant?.load().toArray() ?? [];
  };
  expect(load([1, 5], [2])).toEqual([0, 5, 0, 0, 0, 7]);
  expect(load([0, 1, 1, 2], [2, 2])).toEqual([0, 5, 0, 0, 0, 7]);
  expect(() => load([1, 6], [2])).toThrow(/^model\/damaged/);
  expect(() => load([0, 1, 1, 3], [2, 2])).toThrow(/^model\/damaged/);
});
