// How operators are written in PyTorch: every operator in the tables, on the samples of its definition, against its own
// reference semantics, in float64. Once with its weights as trained constants, which makes layers of them, and once
// with them fed.

import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { classesOf } from '../../src/emit/torch/classes.js';
import type { Network, NetworkUnit } from '../../src/emit/torch/network.js';
import { WRITERS } from '../../src/emit/torch/ops/index.js';
import { draftOf } from '../../src/emit/torch/unit.js';
import { DiagnosticError } from '../../src/diagnostics/index.js';
import { NCHWC, Tensor, isFloat } from '../../src/ir/index.js';
import { REVNETIFY, Random, allOps, evaluateNode } from '../../src/ops/index.js';
import type { OpDefinition, OpSample } from '../../src/ops/index.js';
import { difference, singleNode } from '../ops/support.js';
import { askPython, withFolder } from './python.js';

const LIMIT = 1e-6;

interface Written {
  readonly label: string;
  readonly text: string;
  readonly call: string;
  readonly feeds: readonly Tensor[];
  /** Attribute path → what it holds, as the module lays it out. */
  readonly state: Readonly<Record<string, Tensor>>;
  readonly expected: readonly Tensor[];
}

const keyOf = ({ type, domain = '' }: OpDefinition): string =>
  domain === '' ? type : `${domain}.${type}`;

/** What an operator's writer says it has no form for; everything else is an error. */
const refused: string[] = [];

function write(definition: OpDefinition, sample: OpSample, held: boolean): Written | undefined {
  const { parameters } = definition;
  const weights = sample.inputs.flatMap((x, i) => {
    const isWeight = parameters !== undefined && parameters !== 'any' && parameters.includes(i);
    return x?.dtype === 'float32' && isWeight ? [i] : [];
  });
  // Running statistics are never fed.
  const statistics = definition.type === 'BatchNormalization' ? [3, 4] : [];
  if (held && weights.length === 0) return undefined;
  if (!held && statistics.length > 0) return undefined;
  // rev.onnx has the inference form alone; token numbers of a network count from 0.
  if (sample.attributes?.int('training_mode') === 1) return undefined;
  if (held && definition.type === 'Gather' && /from the end/.test(sample.label)) return undefined;
  const constants = [...(sample.constants ?? []), ...(held ? weights : []), ...statistics];
  const { graph, node, feeds } = singleNode(definition, { ...sample, constants });
  const own = held ? new Set(weights.map((i) => node.input(i))) : new Set<never>();
  const network: Network = {
    graph,
    inputs: graph.inputs,
    output: node.output(),
    units: [],
    contents: new WeakMap(),
    trained: own,
  };
  const outputs = node.op === 'Split' ? node.outputs : node.outputs.slice(0, 1);
  const gives = outputs.flatMap((v) => (v ? [v] : []));
  const unit: NetworkUnit = {
    ...{ id: 'unit', kind: 'plain', policy: 'store', nodes: [node], streams: undefined },
    reads: [...feeds.keys()],
    gives,
  };
  const label = `${keyOf(definition)}: ${sample.label}${held ? ', weights held' : ''}`;
  try {
    const [made] = classesOf([draftOf(unit, network)], new Set());
    const [instance] = made?.instances ?? [];
    if (!made || !instance) throw new Error('no class');
    const state: Record<string, Tensor> = {};
    instance.draft.parts.forEach((part, i) => {
      for (const { name, value, layout } of part.holds) {
        const data = value.constant?.load();
        if (!data) continue;
        const key = [instance.partNames[i] ?? '', name].filter((p) => p !== '').join('.');
        state[key] =
          layout === 'transposed'
            ? transposed(data)
            : layout === 'flat'
              ? data.reshape([data.size])
              : data;
      }
    });
    const expected = evaluateNode(node, sample.inputs).slice(0, gives.length);
    return {
      label,
      text: made.text.join('\n'),
      call: instance.call,
      feeds: [...feeds.values()],
      state,
      expected,
    };
  } catch (error) {
    if (!(error instanceof DiagnosticError) || error.code !== 'export/operator') throw error;
    refused.push(`${label}: ${error.why}`);
    return undefined;
  }
}

function transposed(data: Tensor): Tensor {
  const [rows = 0, columns = 0] = data.dims;
  const out = data.data.map(
    (_, i) => data.data[(i % rows) * columns + Math.floor(i / rows)] ?? NaN,
  );
  return new Tensor(data.dtype, [columns, rows], out);
}

test('every operator that is written computes what it says', async () => {
  await withFolder((folder) => {
    const random = new Random(5);
    const cases = allOps()
      .filter((definition) => keyOf(definition) in WRITERS && definition.samples !== undefined)
      .flatMap((definition) =>
        (definition.samples?.(random) ?? []).flatMap((sample) =>
          [true, false].flatMap((held) => write(definition, sample, held) ?? []),
        ),
      );
    expect(cases.length).toBeGreaterThan(250);
    let files = 0;
    mkdirSync(join(folder, 'in'), { recursive: true });
    const save = (tensor: Tensor): object => {
      const path = join(folder, 'in', `${files++}.bin`);
      writeFileSync(path, new Uint8Array(tensor.data.slice().buffer));
      return { path, shape: tensor.dims, dtype: isFloat(tensor.dtype) ? 'float64' : tensor.dtype };
    };
    const answers = askPython('writers_reference.py', {
      cases: cases.map(({ text, call, feeds, state }) => ({
        text,
        call,
        feeds: feeds.map(save),
        state: Object.fromEntries(Object.entries(state).map(([key, t]) => [key, save(t)])),
      })),
    }) as { values?: { shape: number[]; data: string[] }[]; error?: string }[];
    const wrong = cases.flatMap(({ label, text, expected }, i): string[] => {
      const { values = [], error } = answers[i] ?? {};
      if (error !== undefined) return [`${label}: ${error}\n${text}`];
      return expected.flatMap((want, k) => {
        const got = values[k];
        if (got?.shape.join() !== want.dims.join())
          return [`${label}: shape ${String(got?.shape)} for ${String(want.dims)}\n${text}`];
        const gap = difference(Tensor.of('float64', want.dims, got.data.map(Number)), want);
        return gap <= LIMIT ? [] : [`${label}: off by ${gap}\n${text}`];
      });
    });
    expect(wrong).toEqual([]);
    // What PyTorch has no like of stays a list that can be looked through.
    expect([...refused].sort()).toMatchSnapshot();
    expect(refused.length).toBeLessThan(cases.length / 5);
  });
});

test('what is written in no table is known', () => {
  // What a step alone is made of is never written.
  const known = allOps().filter(({ domain = '' }) => domain !== REVNETIFY && domain !== NCHWC);
  expect(
    known
      .filter((op) => !(keyOf(op) in WRITERS))
      .map(keyOf)
      .sort(),
  ).toMatchSnapshot();
});
