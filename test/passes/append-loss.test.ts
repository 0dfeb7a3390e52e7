// The losses: which one is chosen for which output, values by hand, exact gradients.

import { describe, expect, test } from 'vitest';
import { appendLoss, createState } from '../../passes/index.js';
import type { CompileState, Settings } from '../../passes/index.js';
import { findParameters, appendBackward } from '../../src/autodiff/index.js';
import { InlineData, Model, Tensor } from '../../src/ir/index.js';
import type { Value } from '../../src/ir/index.js';
import { Builder, Random, interpret } from '../../src/ops/index.js';

/** A network whose outputs are its input times a weight, in the given shapes. */
function ended(
  shapes: Readonly<Record<string, readonly number[]>>,
  settings: Partial<Settings> = {},
  image: readonly number[] = [2, 7, 3, 4],
): CompileState {
  const model = new Model();
  const { graph } = model;
  const x = graph.addInput('x', { dtype: 'float32', shape: image });
  const b = new Builder(graph, { phase: 'forward', path: 'n' });
  for (const [name, dims] of Object.entries(shapes)) {
    const weight = new InlineData(new Random(7).tensor(dims));
    const w = graph.addConstant(`${name}.w`, weight);
    // Something of the input, so that the output is data.
    const first = b.op('ReduceMean', [x], { attributes: { keepdims: { kind: 'int', value: 0 } } });
    const y = b.op('Mul', [w, b.op('Add', [first, b.scalar(1)])]);
    y.name = name;
    graph.outputs.push(y);
  }
  const state = createState(model, { batch: image[0] ?? 0, ...settings });
  appendLoss.run(state);
  return state;
}

const lossOf = (state: CompileState): NonNullable<CompileState['loss']> =>
  state.loss ?? expect.fail('no loss');

describe('what suits the output', () => {
  test.each([
    ['class scores', [2, 5], 'cross-entropy', 'int64', [2], 5],
    ['scores of one pixel', [2, 5, 1, 1], 'cross-entropy', 'int64', [2], 5],
    ['one class per pixel', [2, 5, 3, 4], 'cross-entropy', 'int64', [2, 3, 4], 5],
    ['one class per token', [2, 6, 5], 'cross-entropy', 'int64', [2, 6], 5],
    ['a picture like the input', [2, 7, 6, 8], 'mse', 'float32', [2, 7, 6, 8], 0],
  ] as const)('%s', (_, dims, kind, dtype, labels, classes) => {
    const loss = lossOf(ended({ y: dims }));
    expect(loss.kind).toBe(kind);
    expect(loss.labels.type).toEqual({ dtype, shape: labels });
    expect(loss.classes).toBe(classes);
    expect(loss.loss.shape).toEqual([]);
  });

  test('what is chosen is said, unless it is plain', () => {
    expect(ended({ y: [2, 5] }).notes).toEqual([]);
    expect(ended({ y: [2, 5, 3, 4] }).notes.join()).toContain('one label per pixel');
    expect(ended({ y: [2, 7, 6, 8] }).notes.join()).toContain('mean squared error');
    expect(ended({ y: [2, 7, 6, 8] }, { loss: 'mse' }).notes).toEqual([]);
  });

  test('of several outputs the first, or the one that is named', () => {
    const first = ended({ out: [2, 5], aux: [2, 4] });
    expect(lossOf(first).classes).toBe(5);
    expect(first.notes.join()).toContain('trained for output out; aux does not count');
    const named = ended({ out: [2, 5], aux: [2, 4] }, { output: 'aux' });
    expect(lossOf(named).classes).toBe(4);
    expect(named.notes).toEqual([]);
    expect([...named.model.graph.constants].map((v) => v.name)).not.toContain('out.w');
    expect(() => ended({ out: [2, 5] }, { output: 'no' })).toThrow(
      /--train-output[\s\S]*out: float32/,
    );
  });

  test('a regression asks for --loss mse, and that for no smoothing', () => {
    expect(() => ended({ y: [2, 1] })).toThrow(/model\/no-logits[\s\S]*--loss mse/);
    expect(lossOf(ended({ y: [2, 1] }, { loss: 'mse' })).labels.shape).toEqual([2, 1]);
    const both = { loss: 'mse', labelSmoothing: 0.1 } as const;
    expect(() => ended({ y: [2, 1] }, both)).toThrow(/--label-smoothing[\s\S]*no classes/);
    expect(() => ended({ y: [2, 1] }, { loss: 'mse', ignoreIndex: 3 })).toThrow(/--ignore-index/);
  });
});

// ---- values and gradients

/** Loss, correct answers and the weight's gradient by differentiation, at x = 0, where the output is the weight. */
function run(
  state: CompileState,
  labels: readonly number[],
): { loss: number; correct: number; gradient: Float64Array; weight: Tensor } {
  const { graph } = state.model;
  const { images, labels: input, loss, correct } = lossOf(state);
  const [w] = findParameters(graph);
  const weight = w?.constant?.load();
  if (!w || !weight) throw new Error('no weight');
  const units = [
    {
      id: 'head',
      kind: 'head' as const,
      nodes: [...graph.nodes],
      coupling: undefined,
      chain: undefined,
      policy: 'store' as const,
      reason: '',
    },
  ];
  const root = new Builder(graph, { phase: 'forward', path: 'step' });
  const backward = appendBackward(graph, units, loss, new Set([w]), root);
  const gradient = backward.gradients.get(w);
  if (!gradient) throw new Error('no gradient');
  graph.sort();
  const at = (value: Tensor): Map<Value, Tensor> => {
    const shape = (v: Value): number[] => (v.shape ?? []) as number[];
    const feeds = new Map<Value, Tensor>([
      [images, Tensor.zeros('float32', shape(images))],
      [input, Tensor.of(input.type?.dtype ?? 'int64', shape(input), labels)],
      [w, value],
    ]);
    return interpret(graph, feeds, { keep: new Set([gradient]) });
  };
  const here = at(weight);
  const got = here.get(gradient)?.data ?? new Float64Array();
  weight.data.forEach((x, i) => {
    const step = 1e-5;
    const moved = (sign: number): number => {
      const data = weight.data.slice();
      data[i] = x + sign * step;
      return at(new Tensor(weight.dtype, weight.dims, data)).get(loss)?.data[0] ?? NaN;
    };
    expect(got[i]).toBeCloseTo((moved(1) - moved(-1)) / (2 * step), 7);
  });
  const number = (value: Value): number => here.get(value)?.data[0] ?? NaN;
  return { loss: number(loss), correct: number(correct), gradient: got, weight };
}

/** −log softmax by hand: rows of classes and their labels. */
function reference(
  rows: readonly (readonly number[])[],
  labels: readonly number[],
  { smoothing = 0, ignored = NaN }: { smoothing?: number; ignored?: number } = {},
): { loss: number; hits: number; count: number } {
  let [sum, hits, count] = [0, 0, 0];
  rows.forEach((row, i) => {
    const label = labels[i] ?? NaN;
    if (label === ignored) return;
    const total = Math.log(row.reduce((s, x) => s + Math.exp(x), 0));
    const mean = row.reduce((s, x) => s + total - x, 0) / row.length;
    sum += (1 - smoothing) * (total - (row[label] ?? NaN)) + smoothing * mean;
    if (row.every((x) => x <= (row[label] ?? NaN))) hits++;
    count++;
  });
  return { loss: sum / count, hits, count };
}

/** Class scores of each position; classes along an axis. */
function rowsOf({ dims, data }: Tensor, axis: number): number[][] {
  const inner = dims.slice(axis + 1).reduce((n, d) => n * d, 1);
  const classes = dims[axis] ?? 1;
  const outer = data.length / inner / classes;
  return Array.from({ length: outer * inner }, (_, p) =>
    Array.from(
      { length: classes },
      (__, c) => data[(Math.floor(p / inner) * classes + c) * inner + (p % inner)] ?? NaN,
    ),
  );
}

describe.each([
  { name: 'per sample', dims: [4, 3], axis: 1 },
  { name: 'per pixel', dims: [2, 3, 2, 2], axis: 1 },
  { name: 'per token', dims: [2, 4, 3], axis: 2 },
])('cross-entropy $name', ({ dims, axis }) => {
  const image = [dims[0] ?? 0, 7, 3, 4];
  const positions = dims.reduce((n, d) => n * d, 1) / 3;
  const labels = Array.from({ length: positions }, (_, i) => (i * 2 + 1) % 3);
  test.each([0, 0.1])('with smoothing %d', (labelSmoothing) => {
    const got = run(ended({ y: dims }, { labelSmoothing }, image), labels);
    const want = reference(rowsOf(got.weight, axis), labels, { smoothing: labelSmoothing });
    expect(got.loss).toBeCloseTo(want.loss, 10);
    expect(got.correct).toBeCloseTo((want.hits / want.count) * (dims[0] ?? 0), 10);
  });
  test.each([-100, 255, 1])('without label %d', (ignored) => {
    const given = labels.map((label, i) => (i % 3 === 0 ? ignored : label));
    for (const smoothing of [0, 0.2]) {
      const settings = { ignoreIndex: ignored, labelSmoothing: smoothing };
      const got = run(ended({ y: dims }, settings, image), given);
      const want = reference(rowsOf(got.weight, axis), given, { smoothing, ignored });
      expect(got.loss).toBeCloseTo(want.loss, 10);
      expect(got.correct).toBeCloseTo((want.hits / want.count) * (dims[0] ?? 0), 10);
    }
  });
  test('where no label counts the loss is 0', () => {
    const state = ended({ y: dims }, { ignoreIndex: -100 }, image);
    const got = run(
      state,
      labels.map(() => -100),
    );
    expect([got.loss, got.correct]).toEqual([0, 0]);
    expect([...got.gradient].every((g) => g === 0)).toBe(true);
  });
});

test('mean squared error', () => {
  const dims = [2, 7, 3, 4];
  const targets = Array.from({ length: 168 }, (_, i) => Math.sin(i));
  const got = run(ended({ y: dims }), targets);
  const want = targets.reduce((s, t, i) => s + ((got.weight.data[i] ?? NaN) - t) ** 2, 0) / 168;
  expect(got.loss).toBeCloseTo(want, 10);
  expect(got.correct).toBe(0);
});
