// Models of several gigabytes, on disk. In: a number of blocks and where the weights go. Out: files, and the bytes
// that every weight must have. Invariant: no more than one block of a weight is in memory, and nothing here shares
// code with the reader and writer under test.

import { closeSync, openSync, readFileSync, readSync, writeSync } from 'node:fs';
import { dirname, join } from 'node:path';
import onnxProto from 'onnx-proto';
import type { onnx } from 'onnx-proto';
import { field, join as joinBytes, varint, varintField } from '../onnx/helpers.js';

const { AttributeProto, GraphProto, ModelProto, TensorProto } = onnxProto.onnx;

export type Precision = 'float32' | 'float16';
const TYPES = { float32: { code: 1, width: 4 }, float16: { code: 10, width: 2 } } as const;

/** Channels of every block: one 3x3 convolution has 37.7 M weights, 151 MB in float32. */
const CHANNELS = 2048;
const BLOCK_WEIGHTS = CHANNELS * CHANNELS * 9;

export interface BigModel {
  readonly precision: Precision;
  readonly blocks: number;
}

export const bytesOf = ({ precision, blocks }: BigModel): number =>
  blocks * BLOCK_WEIGHTS * TYPES[precision].width;

/** Weights are made in pieces of this many elements; all of them are finite and small. */
const PIECE = 1 << 18;
const PIECES = BLOCK_WEIGHTS / PIECE;
const pattern = Float32Array.from(
  { length: PIECE },
  (_, i) => (((i * 7919) % 509) - 254) / 2 ** 14,
);
/** The same numbers in float16, which holds them exactly. */
const halfPattern = Uint16Array.from(pattern, (x) => {
  if (x === 0) return 0;
  const exponent = Math.floor(Math.log2(Math.abs(x)));
  const bits = (Math.abs(x) / 2 ** exponent - 1) * 1024 + (exponent + 15) * 1024;
  return bits | (x < 0 ? 0x8000 : 0);
});

/** Piece `index` of the weight of block `block`: no two pieces are equal. */
function piece(precision: Precision, block: number, index: number): Uint8Array {
  const stamp = [block, index].map((n) => (n % 256) + 256);
  const data =
    precision === 'float32'
      ? Float32Array.from(pattern).fill(0, 0, 2)
      : Uint16Array.from(halfPattern).fill(0, 0, 2);
  // 256 to 511: as float16, (n − 256) / 256 + 1 times 2^8.
  stamp.forEach(
    (n, i) => (data[i] = precision === 'float32' ? n : (8 + 15) * 1024 + (n - 256) * 4),
  );
  return new Uint8Array(data.buffer);
}

const floatTensor = (precision: Precision, dims: number[], value: number): onnx.ITensorProto => {
  const count = dims.reduce((n, d) => n * d, 1);
  return precision === 'float32'
    ? { dims, dataType: 1, floatData: new Array<number>(count).fill(value) }
    : { dims, dataType: 10, int32Data: new Array<number>(count).fill(value === 1 ? 0x3c00 : 0) };
};

const ints = (name: string, values: number[]): onnx.IAttributeProto => ({
  name,
  type: AttributeProto.AttributeType.INTS,
  ints: values,
});

const nameOf = (block: number): string => `block${block}.conv.weight`;

/** Everything but the large weights: stem, `blocks` pre-activation blocks, head. */
function graphOf({ precision, blocks }: BigModel): onnx.IGraphProto {
  const type = (dim: (number | string)[]): onnx.ITypeProto => ({
    tensorType: {
      elemType: TYPES[precision].code,
      shape: { dim: dim.map((d) => (typeof d === 'number' ? { dimValue: d } : { dimParam: d })) },
    },
  });
  const node: onnx.INodeProto[] = [];
  const initializer: onnx.ITensorProto[] = [];
  const small = (name: string, dims: number[], value: number): string => {
    initializer.push({ ...floatTensor(precision, dims, value), name });
    return name;
  };
  const add = (
    opType: string,
    output: string,
    input: string[],
    attribute: onnx.IAttributeProto[] = [],
  ): string => {
    node.push({ opType, name: `/${output}`, input, output: [output], attribute });
    return output;
  };
  let x = add('Conv', 'stem', ['input', small('stem.weight', [CHANNELS, 3, 1, 1], 1)]);
  for (let i = 0; i < blocks; i++) {
    const vectors = [1, 0, 0, 1].map((v, j) => small(`block${i}.norm.${j}`, [CHANNELS], v));
    const norm = add('BatchNormalization', `block${i}.norm`, [x, ...vectors]);
    const relu = add('Relu', `block${i}.relu`, [norm]);
    const conv = add('Conv', `block${i}.conv`, [relu, nameOf(i)], [ints('pads', [1, 1, 1, 1])]);
    x = add('Add', `block${i}.add`, [x, conv]);
  }
  const pool = add('GlobalAveragePool', 'pool', [x]);
  const flat = add('Flatten', 'flat', [pool]);
  add('MatMul', 'logits', [flat, small('head.weight', [CHANNELS, 10], 1)]);
  return {
    name: 'big',
    node,
    initializer,
    input: [{ name: 'input', type: type(['N', 3, 4, 4]) }],
    output: [{ name: 'logits', type: type(['N', 10]) }],
  };
}

const HEADER = joinBytes(varintField(1, 8), field(8, varintField(2, 17)));
const dims = [CHANNELS, CHANNELS, 3, 3];

function writeWeights(model: BigModel, block: number, write: (bytes: Uint8Array) => void): void {
  for (let i = 0; i < PIECES; i++) write(piece(model.precision, block, i));
}

function writing(path: string, body: (write: (bytes: Uint8Array) => void) => void): void {
  const file = openSync(path, 'w');
  try {
    body((bytes) => {
      writeSync(file, bytes);
    });
  } finally {
    closeSync(file);
  }
}

/** model.onnx with its weights in weights.bin. */
export function writeExternal(model: BigModel, folder: string): string {
  const graph = graphOf(model);
  const each = BLOCK_WEIGHTS * TYPES[model.precision].width;
  writing(join(folder, 'weights.bin'), (write) => {
    for (let i = 0; i < model.blocks; i++) writeWeights(model, i, write);
  });
  for (let i = 0; i < model.blocks; i++) {
    const at = { location: 'weights.bin', offset: i * each, length: each };
    graph.initializer?.push({
      name: nameOf(i),
      dims,
      dataType: TYPES[model.precision].code,
      dataLocation: TensorProto.DataLocation.EXTERNAL,
      externalData: Object.entries(at).map(([key, value]) => ({ key, value: String(value) })),
    });
  }
  const path = join(folder, 'model.onnx');
  const bytes = GraphProto.encode(graph).finish();
  writing(path, (write) => {
    write(joinBytes(HEADER, field(7, bytes)));
  });
  return path;
}

/** model.onnx with its weights in it. */
export function writeInline(model: BigModel, folder: string): string {
  const { code, width } = TYPES[model.precision];
  const each = BLOCK_WEIGHTS * width;
  const head = (block: number): Uint8Array =>
    joinBytes(
      ...dims.map((d) => varintField(1, d)),
      varintField(2, code),
      field(8, nameOf(block)),
      varint(9 * 8 + 2),
      varint(each),
    );
  const starts = Array.from({ length: model.blocks }, (_, i) =>
    joinBytes(varint(5 * 8 + 2), varint(head(i).length + each), head(i)),
  );
  const rest = GraphProto.encode(graphOf(model)).finish();
  const length = starts.reduce((n, start) => n + start.length + each, rest.length);
  const path = join(folder, 'model.onnx');
  writing(path, (write) => {
    write(joinBytes(HEADER, varint(7 * 8 + 2), varint(length), rest));
    starts.forEach((start, i) => {
      write(start);
      writeWeights(model, i, write);
    });
  });
  return path;
}

/** Whether a file holds these bytes at this place. */
function holds(file: number, offset: number, expected: Uint8Array): boolean {
  const got = Buffer.alloc(expected.length);
  return readSync(file, got, 0, got.length, offset) === got.length && got.equals(expected);
}

/**
 * Whether the data file beside a model holds every large weight, in float32, as it was made.
 * @returns names of weights that it does not hold so
 */
export function differingWeights(model: BigModel, path: string): string[] {
  const { initializer } = ModelProto.decode(readFileSync(path)).graph ?? {};
  return Array.from({ length: model.blocks }, (_, block) => block)
    .filter((block) => {
      const found = initializer?.find((t) => t.name === nameOf(block));
      const entry = (key: string): string | undefined =>
        found?.externalData?.find((e) => e.key === key)?.value ?? undefined;
      if (Number(entry('length')) !== BLOCK_WEIGHTS * 4) return true;
      const file = openSync(join(dirname(path), entry('location') ?? ''), 'r');
      const offset = Number(entry('offset'));
      const same = Array.from({ length: PIECES }, (_, i) => i).every((i) =>
        holds(file, offset + i * PIECE * 4, piece('float32', block, i)),
      );
      closeSync(file);
      return !same;
    })
    .map(nameOf);
}
