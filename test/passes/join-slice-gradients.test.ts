// Sums of slices' gradients that cover a tensor are concatenated; all others are left as they are.

import { describe, expect, test } from 'vitest';
import { joinSliceGradients } from '../../passes/join-slice-gradients.js';
import { createState } from '../../passes/index.js';
import { visionTransformer } from '../../fixtures/transformers.js';
import { analyseModel, buildStep } from '../../src/compiler/index.js';
import { DEFAULT_SETTINGS } from '../../passes/index.js';
import { Model, ints } from '../../src/ir/index.js';
import type { Value } from '../../src/ir/index.js';
import { Builder, Random, WORKING_OPSET, interpret } from '../../src/ops/index.js';

const DIMS = [2, 6, 3];

/** [start, end) along axis 1 unless said otherwise. */
interface Slice {
  readonly start: number;
  readonly end: number;
  readonly axis?: number;
  readonly step?: number;
}

interface Case {
  readonly name: string;
  readonly slices: readonly Slice[];
  /** Something else in the sum. */
  readonly more?: boolean;
  /** The first gradient is read by another node as well. */
  readonly shared?: boolean;
  readonly joined: boolean;
}

const thirds = [
  { start: 2, end: 4 },
  { start: 0, end: 2 },
  { start: 4, end: 6 },
];

const CASES: readonly Case[] = [
  { name: 'three in any order', slices: thirds, joined: true },
  {
    name: 'two of different widths',
    slices: [
      { start: 0, end: 5 },
      { start: 5, end: 6 },
    ],
    joined: true,
  },
  { name: 'one is missing', slices: thirds.slice(0, 2), joined: false },
  { name: 'one twice', slices: [...thirds, { start: 0, end: 2 }], joined: false },
  {
    name: 'they overlap',
    slices: [
      { start: 0, end: 4 },
      { start: 3, end: 6 },
    ],
    joined: false,
  },
  {
    name: 'of two axes',
    slices: [
      { start: 0, end: 3 },
      { start: 1, end: 3, axis: 2 },
    ],
    joined: false,
  },
  {
    name: 'every other element',
    slices: [
      { start: 0, end: 6, step: 2 },
      { start: 3, end: 6 },
    ],
    joined: false,
  },
  { name: 'another term', slices: thirds, more: true, joined: false },
  { name: 'one that is read elsewhere', slices: thirds, shared: true, joined: false },
];

function sumOf({ slices, more = false, shared = false }: Case): { model: Model; sum: Value } {
  const model = new Model();
  model.opsets.set('', WORKING_OPSET);
  const { graph } = model;
  const b = new Builder(graph, { phase: 'backward', path: 'b' });
  const padded = slices.map(({ start, end, axis = 1, step = 1 }, i) => {
    const shape = DIMS.map((d, at) => (at === axis ? Math.ceil((end - start) / step) : d));
    const part = graph.addInput(`part${i}`, { dtype: 'float32', shape });
    const bounds = { starts: ints([start]), ends: ints([end]) };
    return b.op('revnetify.SliceGrad', [part], {
      attributes: { ...bounds, axes: ints([axis]), steps: ints([step]), input_shape: ints(DIMS) },
    });
  });
  const terms = [...padded];
  if (more) terms.splice(1, 0, graph.addInput('more', { dtype: 'float32', shape: DIMS }));
  const sum = terms.reduce((x, y) => b.op('Add', [x, y]));
  graph.outputs.push(b.op('Neg', [sum]));
  if (shared && padded[0]) graph.outputs.push(b.op('Neg', [padded[0]]));
  return { model, sum };
}

describe('the gradients of slices', () => {
  test.each(CASES)('$name: joined $joined', (subject) => {
    const { model, sum } = sumOf(subject);
    const { graph } = model;
    const random = new Random(4);
    const feeds = new Map(
      graph.inputs.map((v) => [v, random.tensor((v.shape ?? []).map(Number))] as const),
    );
    const results = (): (readonly number[] | undefined)[] => {
      const values = interpret(graph, feeds);
      return graph.outputs.map((v) => values.get(v)?.toArray());
    };
    const before = results();
    joinSliceGradients.run(createState(model));
    expect(results()).toEqual(before);
    expect(sum.producer?.op).toBe(subject.joined ? 'Concat' : 'Add');
    const left = [...graph.nodes].filter(({ op }) => op === 'SliceGrad').length;
    expect(left).toBe(subject.joined ? 0 : subject.slices.length);
  });

  test('of the one product behind queries, keys and values are not padded', () => {
    const model = visionTransformer({
      depth: 2,
      width: 8,
      heads: 2,
      patch: 4,
      image: 8,
      classes: 3,
    });
    const { chains } = analyseModel(model, { recipe: 'paper' });
    const { state } = buildStep(model, chains, { ...DEFAULT_SETTINGS, batch: 2 });
    const inBlocks = [...state.model.graph.nodes].filter(
      ({ op, origin, phase }) => phase === 'backward' && op === 'Pad' && origin?.includes('layer'),
    );
    expect(inBlocks.map(({ name }) => name)).toEqual([]);
  });
});
