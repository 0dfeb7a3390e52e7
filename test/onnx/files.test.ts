// Files: external data, atomic writes, very large models.

import {
  existsSync,
  ftruncateSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  closeSync,
  readFileSync,
  readdirSync,
  rmSync,
  symlinkSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join as joinPath } from 'node:path';
import onnxProto from 'onnx-proto';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { InlineData, Model, Tensor } from '../../src/ir/index.js';
import { cloneModel } from '../../src/ir/clone.js';
import type { ConstantData } from '../../src/ir/index.js';
import {
  atomicWrite,
  checkWeights,
  decodeModel,
  encodeModel,
  readModel,
  writeModel,
} from '../../src/onnx/index.js';
import { atomicWriteAll } from '../../src/onnx/files.js';
import { layout } from '../../src/onnx/write.js';
import {
  encodeSample,
  field,
  floats,
  graphOf,
  join,
  sampleModel,
  varint,
  varintField,
} from './helpers.js';

const { AttributeProto, TensorProto } = onnxProto.onnx;

let folder: string;
beforeEach(() => (folder = mkdtempSync(joinPath(tmpdir(), 'revnetify-'))));
afterEach(() => rmSync(folder, { recursive: true, force: true }));
const at = (...names: string[]): string => joinPath(folder, ...names);

/** The sample with W in a data file. */
function externalSample(
  location: string,
  more: Record<string, string> = { offset: '4', length: '16' },
): Uint8Array {
  const sample = sampleModel();
  const w = sample.graph?.initializer?.[0];
  if (w) {
    delete w.rawData;
    w.dataLocation = TensorProto.DataLocation.EXTERNAL;
    w.externalData = Object.entries({ location, ...more }).map(([key, value]) => ({ key, value }));
  }
  return encodeSample(sample);
}
const DATA = floats(-1, 1, 2, 3, 4);
const weight = (model: Model, name = 'W'): ConstantData => {
  const value = [...model.graph.constants].find((v) => v.name === name);
  if (!value?.constant) throw new Error(`no ${name}`);
  return value.constant;
};
const openSample = (location: string, more?: Record<string, string>): Model => {
  writeFileSync(at('m.onnx'), externalSample(location, more));
  return readModel(at('m.onnx'));
};

describe('external data', () => {
  test('is read at its offset', () => {
    writeFileSync(at('w.bin'), DATA);
    const model = openSample('w.bin');
    checkWeights(model);
    expect(weight(model).load().toArray()).toEqual([1, 2, 3, 4]);
    expect(
      weight(openSample('./w.bin', { offset: '0' }))
        .load()
        .toArray(),
    ).toEqual([-1, 1, 2, 3]);
    expect(weight(openSample('./w.bin', {})).load().toArray()).toEqual([-1, 1, 2, 3]);
  });

  test('that is missing is told early by the check, else on load', () => {
    const model = openSample('w.bin');
    expect(() => checkWeights(model)).toThrow(/^model\/external-data[^]*W: [^]*w\.bin" is missing/);
    expect(() => weight(model).load()).toThrow(/^model\/external-data/);
    expect(() => weight(model).bytes()).toThrow(/^model\/external-data/);
    expect(encodeModel(model).bytes).toEqual(externalSample('w.bin'));
  });

  test('that is too short, or recorded wrongly, is refused', () => {
    writeFileSync(at('w.bin'), DATA.subarray(0, 19));
    expect(() => weight(openSample('w.bin')).load()).toThrow(/^model\/external-data/);
    expect(() => openSample('w.bin', { offset: '-4' })).toThrow(/^model\/external-data/);
    expect(() => openSample('w.bin', { offset: '0', length: '1e1' })).toThrow(
      /^model\/external-data/,
    );
    expect(() => weight(openSample('w.bin', { length: '12' })).load()).toThrow(/^model\/damaged/);
    expect(() => openSample('')).toThrow(/^model\/external-data/);
  });

  test('never comes from outside the folder', () => {
    mkdirSync(at('in'));
    writeFileSync(at('secret'), DATA);
    symlinkSync('../secret', at('in', 'link'));
    symlinkSync('..', at('in', 'up'));
    for (const location of [
      '../secret',
      at('secret'),
      'x/../../secret',
      '..\\secret',
      'C:\\secret',
      '\\\\host\\s',
      'link',
      'up/secret',
    ]) {
      writeFileSync(at('in', 'm.onnx'), externalSample(location));
      const model = readModel(at('in', 'm.onnx'));
      expect(() => weight(model).load(), location).toThrow(/^model\/external-data/);
      expect(() => checkWeights(model), location).toThrow(/^model\/external-data/);
    }
    writeFileSync(at('in', 'real'), DATA);
    symlinkSync('real', at('in', 'inner'));
    writeFileSync(at('in', 'm.onnx'), externalSample('inner'));
    expect(
      weight(readModel(at('in', 'm.onnx')))
        .load()
        .toArray(),
    ).toEqual([1, 2, 3, 4]);
  });

  test('is taken along into another folder, and referred to in the same', () => {
    writeFileSync(at('w.bin'), DATA);
    const model = openSample('w.bin');
    writeModel(model, at('same.onnx'));
    expect(readFileSync(at('same.onnx'))).toEqual(readFileSync(at('m.onnx')));
    writeModel(model, at('other', 'm.onnx'));
    expect(readdirSync(at('other'))).toEqual(['m.onnx']);
    expect(
      weight(readModel(at('other', 'm.onnx')))
        .load()
        .toArray(),
    ).toEqual([1, 2, 3, 4]);
    expect(graphOf(readFileSync(at('other', 'm.onnx'))).initializer?.[0]?.docString).toBe('weight');
    expect(
      graphOf(encodeModel(model, { external: 'never' }).bytes).initializer?.[0]?.rawData,
    ).toEqual(floats(1, 2, 3, 4));
  });

  test('of a copy of the model is taken along as well, and its file is not overwritten', () => {
    writeFileSync(at('w.bin'), DATA);
    const { model } = cloneModel(openSample('w.bin'));
    writeModel(model, at('other', 'm.onnx'));
    expect(
      weight(readModel(at('other', 'm.onnx')))
        .load()
        .toArray(),
    ).toEqual([1, 2, 3, 4]);
    expect(() => writeModel(model, at('m.onnx'))).toThrow(/^usage\/output/);
  });

  test('inside nodes and their subgraphs is taken along too', () => {
    writeFileSync(at('w.bin'), DATA);
    const sample = sampleModel();
    const t = (): object => ({
      name: 'k',
      dims: [4],
      dataType: 1,
      dataLocation: TensorProto.DataLocation.EXTERNAL,
      externalData: [
        { key: 'location', value: 'w.bin' },
        { key: 'offset', value: '4' },
      ],
    });
    sample.graph?.node?.push({
      opType: 'Constant',
      name: 'k',
      output: ['k0'],
      attribute: [{ name: 'value', type: AttributeProto.AttributeType.TENSOR, t: t() }],
    });
    const g = sample.graph?.node?.[3]?.attribute?.[0]?.g;
    if (g) g.initializer = [t()];
    writeFileSync(at('m.onnx'), encodeSample(sample));
    const model = readModel(at('m.onnx'));
    checkWeights(model);
    writeModel(model, at('other', 'm.onnx'));
    const after = graphOf(readFileSync(at('other', 'm.onnx')));
    const raw = Buffer.from(floats(1, 2, 3, 4));
    expect(after.node?.[3]?.attribute?.[0]?.g?.initializer?.[0]?.rawData).toEqual(raw);
    expect(after.node?.[4]?.attribute?.[0]?.t?.rawData).toEqual(raw);
    expect(after.node?.[4]?.attribute?.[0]?.t?.externalData).toEqual([]);
    rmSync(at('w.bin'));
    expect(() => checkWeights(readModel(at('m.onnx')))).toThrow(/^model\/external-data/);
  });

  test('is made on request, aligned, small tensors excepted', () => {
    const model = decodeModel(encodeSample());
    const big = Tensor.of(
      'float32',
      [300],
      Array.from({ length: 300 }, (_, i) => i),
    );
    for (const name of ['big1', 'big2'])
      model.graph.outputs.push(model.graph.addConstant(name, new InlineData(big)));
    writeModel(model, at('e.onnx'), { external: 'always' });
    expect(readdirSync(folder).sort()).toEqual(['e.onnx', 'e.onnx.data']);
    expect(readFileSync(at('e.onnx.data')).length).toBe(4096 + 1200);
    const back = readModel(at('e.onnx'));
    expect(weight(back, 'big2').load().toArray()).toEqual(big.toArray());
    expect(weight(back).load().toArray()).toEqual([1, 2, 3, 4]);
    expect(() => writeModel(back, at('e.onnx'))).toThrow(/^usage\/output/);
    writeModel(back, at('second', 'e.onnx'), { external: 'always' });
    expect(
      weight(readModel(at('second', 'e.onnx')), 'big2')
        .load()
        .toArray(),
    ).toEqual(big.toArray());
    const memory = encodeModel(model, { external: 'always', dataName: 'd' });
    expect([memory.external?.name, memory.external?.bytes.length]).toEqual(['d', 4096 + 1200]);
  });

  test('is made without being asked beyond 2 GiB', () => {
    const model = new Model();
    model.opsets.set('', 13);
    const huge: ConstantData = {
      dtype: 'float32',
      dims: [1 << 15, 1 << 14],
      load: () => Tensor.scalar(0),
      bytes: () => new Uint8Array(0),
    };
    model.graph.addConstant('huge', huge);
    const { main, data } = layout(model, { dataName: 'd' }, () => false);
    expect(main.length).toBeLessThan(1000);
    expect(data?.content.length).toBe(2 ** 31);
    expect(() => layout(model, { external: 'never' }, () => false)).toThrow(/^usage\/output/);
  });
});

describe('writing', () => {
  test('refuses the file the model came from, by any name', () => {
    writeFileSync(at('m.onnx'), encodeSample());
    symlinkSync('m.onnx', at('alias.onnx'));
    const model = readModel(at('m.onnx'));
    for (const name of ['m.onnx', 'alias.onnx', './x/../m.onnx'])
      expect(() => writeModel(model, `${folder}/${name}`), name).toThrow(/^usage\/output/);
    expect(readFileSync(at('m.onnx'))).toEqual(Buffer.from(encodeSample()));
  });

  test('refuses the data file the model came from', () => {
    writeFileSync(at('e.onnx.data'), new Uint8Array(4 * 512).fill(1));
    const sample = sampleModel();
    const w = sample.graph?.initializer?.[0];
    if (!w) throw new Error('no W');
    delete w.rawData;
    w.dims = [512];
    w.dataLocation = TensorProto.DataLocation.EXTERNAL;
    w.externalData = [{ key: 'location', value: 'e.onnx.data' }];
    writeFileSync(at('m.onnx'), encodeSample(sample));
    const model = readModel(at('m.onnx'));
    const add = (): InlineData => new InlineData(Tensor.zeros('float32', [400]));
    model.graph.addConstant('more', add());
    expect(() => writeModel(model, at('e.onnx'), { external: 'always' })).toThrow(/^usage\/output/);
  });

  test('a model whose constants fail leaves nothing behind, nor harms what was there', () => {
    writeFileSync(at('out.onnx'), 'old');
    const model = decodeModel(encodeSample());
    const broken: ConstantData = {
      dtype: 'float32',
      dims: [2],
      load: () => Tensor.zeros('float32', [2]),
      bytes: () => {
        throw new Error('broken');
      },
    };
    model.graph.addConstant('broken', broken);
    expect(() => writeModel(model, at('out.onnx'))).toThrow('broken');
    expect(readdirSync(folder)).toEqual(['out.onnx']);
    expect(readFileSync(at('out.onnx'), 'utf8')).toBe('old');
  });

  test('text and bytes; into a folder that is none', () => {
    atomicWrite(at('a.txt'), 'é');
    expect(readFileSync(at('a.txt'), 'utf8')).toBe('é');
    atomicWrite(at('a.txt'), Uint8Array.of(1, 2));
    expect([...readFileSync(at('a.txt'))]).toEqual([1, 2]);
    expect(() => atomicWrite(at('a.txt', 'b'), '')).toThrow(/^usage\/output/);
    expect(() => atomicWrite(at('none', 'b'), '')).toThrow(/^usage\/output/);
    expect(readdirSync(folder)).toEqual(['a.txt']);
  });

  test('shows nothing under the final name before all is written', () => {
    const slow = (name: string, byte: number): Parameters<typeof atomicWriteAll>[0][number] => ({
      path: at(name),
      body: (write) => {
        write(Uint8Array.of(byte));
        expect(existsSync(at('slow'))).toBe(false);
      },
    });
    atomicWriteAll([slow('slow', 1)]);
    expect(readdirSync(folder)).toEqual(['slow']);
  });

  test('of several files replaces all of them or none', () => {
    const file = (name: string, text: string): Parameters<typeof atomicWriteAll>[0][number] => ({
      path: at(name),
      body: (write) => {
        if (text === '') throw new Error('disk full');
        write(Buffer.from(text));
      },
    });
    const read = (): string[] => ['data', 'main'].map((name) => readFileSync(at(name), 'utf8'));
    atomicWriteAll([file('data', 'd1'), file('main', 'm1')]);
    expect(read()).toEqual(['d1', 'm1']);
    expect(() => atomicWriteAll([file('data', 'd2'), file('main', '')])).toThrow('disk full');
    expect(read()).toEqual(['d1', 'm1']);
    expect(readdirSync(folder)).toEqual(['data', 'main']);
    // Where the data cannot take its place, no old main is left to read it.
    mkdirSync(at('taken', 'x'), { recursive: true });
    expect(() => atomicWriteAll([file('taken', 'd3'), file('main', 'm3')])).toThrow(
      /^usage\/output/,
    );
    expect(readdirSync(folder)).toEqual(['data', 'taken']);
  });
});

describe('reading', () => {
  test('a path that is not there, or a folder', () => {
    expect(() => readModel(at('none.onnx'))).toThrow(/^model\/not-found/);
    expect(() => readModel(folder)).toThrow(/^model\/not-found/);
  });

  test('a file that has changed since is not believed', () => {
    const sample = sampleModel();
    sample.graph?.initializer?.push({
      name: 'big',
      dims: [10_000],
      dataType: 1,
      rawData: new Uint8Array(40_000),
    });
    writeFileSync(at('m.onnx'), encodeSample(sample));
    const model = readModel(at('m.onnx'), { inMemory: 0 });
    writeFileSync(at('m.onnx'), join(encodeSample(sample), field(14, '')));
    expect(() => weight(model, 'big').load()).toThrow(/^model\/damaged[^]*changed/);
  });

  test('a model of 3 GiB opens at once and without its weights in memory', () => {
    const size = 1024 ** 3;
    const file = openSync(at('large.onnx'), 'w');
    let end = 0;
    const write = (bytes: Uint8Array): void => {
      writeSync(file, bytes, 0, bytes.length, end);
      end += bytes.length;
    };
    // Holes in a sparse file stand for the weights.
    const head = (i: number): Uint8Array =>
      join(
        varintField(1, size / 4),
        varintField(2, 1),
        field(8, `w${i}`),
        varint(9 * 8 + 2),
        varint(size),
      );
    const tensors = [0, 1, 2].map((i) =>
      join(varint(5 * 8 + 2), varint(head(i).length + size), head(i)),
    );
    const rest = join(
      field(11, field(1, 'x')),
      field(1, join(field(1, 'x'), field(2, 'y'), field(4, 'Relu'))),
      field(12, field(1, 'y')),
    );
    const length = tensors.reduce((n, t) => n + t.length + size, rest.length);
    write(join(varintField(1, 8), field(8, varintField(2, 13)), varint(7 * 8 + 2), varint(length)));
    for (const tensor of tensors) {
      write(tensor);
      end += size;
    }
    write(rest);
    ftruncateSync(file, end);
    closeSync(file);
    const memory = process.memoryUsage().rss;
    const start = performance.now();
    const model = readModel(at('large.onnx'));
    const elapsed = performance.now() - start;
    expect(process.memoryUsage().rss - memory).toBeLessThan(64 * 2 ** 20);
    expect(elapsed).toBeLessThan(500);
    expect(model.graph.constants.size).toBe(3);
    expect(model.graph.nodes.size).toBe(1);
  });
});
