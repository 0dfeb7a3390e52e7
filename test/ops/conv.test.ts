// Conv and ConvTranspose: against the definition written out element by element, shapes with unknown
// extents, and the gradients as adjoints.

import { expect, test } from 'vitest';
import { Attributes, Graph, Tensor, int, ints, string } from '../../src/ir/index.js';
import type { Dim, Shape } from '../../src/ir/index.js';
import { Builder, Random, allOps, evaluateNode, interpret } from '../../src/ops/index.js';
import type { OpSample } from '../../src/ops/index.js';
import { CONV_CASES, caseGeometry } from '../../src/ops/conv-cases.js';
import { correlate, pair, scatter } from '../../src/ops/conv-kernels.js';

const build = (): { graph: Graph; b: Builder } => {
  const graph = new Graph();
  return { graph, b: new Builder(graph, { phase: 'forward', path: 't' }) };
};

function shapeOf(op: string, x: Shape, w: Shape, attributes: Attributes): Shape | undefined {
  const { graph, b } = build();
  const operands = [x, w].map((shape, i) => graph.addInput(`i${i}`, { dtype: 'float32', shape }));
  return b.op(op, operands, { attributes }).shape;
}

const dot = (a: Float64Array, b: Float64Array): number =>
  a.reduce((sum, v, i) => sum + v * (b[i] ?? NaN), 0);

/** Every index of a box, in row-major order. */
function* indices(extents: readonly number[]): Generator<number[]> {
  const size = extents.reduce((a, b) => a * b, 1);
  for (let flat = 0; flat < size; flat++) {
    let rest = flat;
    const index: number[] = [];
    for (const extent of [...extents].reverse()) {
      index.unshift(rest % extent);
      rest = Math.floor(rest / extent);
    }
    yield index;
  }
}

const flatten = (index: readonly number[], extents: readonly number[]): number =>
  index.reduce((flat, v, i) => flat * (extents[i] ?? 0) + v, 0);

test.each(CONV_CASES.map((c) => [c.label, c] as const))('Conv is its definition: %s', (_, c) => {
  const random = new Random(7);
  const g = caseGeometry(c);
  const [x, w] = [random.tensor(c.x), random.tensor(c.w)];
  const actual = correlate(g, x.data, w.data);
  const yDims = [g.batch, g.outChannels, ...g.output];
  const perIn = g.inChannels / g.group;
  const perOut = g.outChannels / g.group;
  let position = 0;
  for (const [n = 0, m = 0, ...i] of indices(yDims)) {
    let sum = 0;
    for (const [channel = 0, ...t] of indices(c.w.slice(1))) {
      const at = t.map(
        (v, axis) =>
          (g.strides[axis] ?? 0) * (i[axis] ?? 0) +
          (g.dilations[axis] ?? 0) * v -
          (g.begin[axis] ?? 0),
      );
      if (at.some((v, axis) => v < 0 || v >= (g.input[axis] ?? 0))) continue;
      const source = Math.floor(m / perOut) * perIn + channel;
      sum +=
        (x.data[flatten([n, source, ...at], c.x)] ?? NaN) *
        (w.data[flatten([m, channel, ...t], c.w)] ?? NaN);
    }
    expect(actual[position++]).toBeCloseTo(sum, 10);
  }
  expect(position).toBe(actual.length);
});

test.each(CONV_CASES.map((c) => [c.label, c] as const))(
  'the gradients are adjoints: %s',
  (_, c) => {
    const random = new Random(8);
    const g = caseGeometry(c);
    const [x, w] = [random.tensor(c.x), random.tensor(c.w)];
    const dY = random.tensor([g.batch, g.outChannels, ...g.output]);
    // Conv is linear in X and in W, so <conv(X, W), dY> = <X, dX> = <W, dW> for every X and W.
    const expected = dot(correlate(g, x.data, w.data), dY.data);
    expect(dot(x.data, scatter(g, dY.data, w.data))).toBeCloseTo(expected, 10);
    expect(dot(w.data, pair(g, x.data, dY.data))).toBeCloseTo(expected, 10);
  },
);

test('a symbolic batch passes through, other unknown extents as far as they can', () => {
  const plain = new Attributes({ pads: ints([1, 1, 1, 1]) });
  expect(shapeOf('Conv', ['N', 3, 8, 8], [4, 3, 3, 3], plain)).toEqual(['N', 4, 8, 8]);
  expect(shapeOf('Conv', ['N', 3, 'H', 'W'], [4, 3, 3, 3], plain)).toEqual(['N', 4, 'H', 'W']);
  const strided = shapeOf(
    'Conv',
    ['N', 3, 'H', 9],
    [4, 3, 3, 3],
    plain.with({ strides: ints([2, 2]) }),
  );
  expect(strided?.slice(0, 2)).toEqual(['N', 4]);
  expect(strided?.[2]).not.toBe('H');
  expect(typeof strided?.[2]).toBe('string');
  expect(strided?.[3]).toBe(5);
  const same = new Attributes({ auto_pad: string('SAME_UPPER') });
  expect(shapeOf('Conv', ['N', 3, 'H', 7], [4, 3, 4, 4], same)).toEqual(['N', 4, 'H', 7]);
  const up = new Attributes({ strides: ints([2, 2]), group: int(2) });
  expect(shapeOf('ConvTranspose', ['N', 4, 3, 3], [4, 3, 2, 2], up)).toEqual(['N', 6, 6, 6]);
});

test('shapes that do not fit are refused', () => {
  const none = new Attributes({});
  const cases: [Dim[], Dim[], Attributes, RegExp][] = [
    [[1, 3, 8, 8], [4, 2, 3, 3], none, /3 channels/],
    [[1, 4, 8, 8], [3, 2, 3, 3], new Attributes({ group: int(2) }), /3 filters/],
    [[1, 3, 2, 2], [4, 3, 3, 3], none, /does not fit/],
    [[1, 3, 8], [4, 3, 3, 3], none, /spatial axes/],
    [[1, 3, 8, 8], [4, 3, 3, 3], new Attributes({ kernel_shape: ints([5, 5]) }), /kernel_shape/],
  ];
  for (const [x, w, attributes, message] of cases)
    expect(() => shapeOf('Conv', x, w, attributes)).toThrow(message);
});

const samplesOf = (type: string): OpSample[] => {
  const definition = allOps().find((op) => op.type === type);
  return definition?.samples?.(new Random(3)) ?? [];
};

test.each(
  ['Conv', 'ConvTranspose'].flatMap((type) =>
    samplesOf(type).map((sample) => [type, sample.label, sample] as const),
  ),
)('%s: inferred shape and gradients of %s', (type, _, sample) => {
  const { graph, b } = build();
  const feeds = new Map(
    sample.inputs.flatMap((tensor, i) =>
      tensor
        ? [[graph.addInput(`i${i}`, { dtype: 'float32', shape: tensor.dims }), tensor] as const]
        : [],
    ),
  );
  const operands = [...feeds.keys()];
  const node = b.node(type, operands, sample.attributes ? { attributes: sample.attributes } : {});
  const [result] = evaluateNode(node, sample.inputs);
  expect(result?.dims).toEqual(node.output().shape);
  const definition = allOps().find((op) => op.type === type);
  const dY = new Random(5).tensor(result?.dims ?? []);
  const grad = graph.addInput('dY', { dtype: 'float32', shape: dY.dims });
  const gradients = definition?.gradient?.({
    node,
    attributes: node.attributes,
    b,
    input: (i) => node.input(i),
    has: (i) => node.inputs[i] !== undefined,
    output: (i = 0) => node.output(i),
    grad: () => grad,
    hasGrad: () => true,
    wants: () => true,
  });
  for (const value of gradients ?? []) if (value) graph.outputs.push(value);
  const results = interpret(graph, new Map([...feeds, [grad, dY]]));
  // Linear in each operand: <op(.., v, ..), dY> without the other terms = <v, gradient by v>.
  sample.inputs.forEach((operand, index) => {
    const value = gradients?.[index];
    if (!operand || !value) throw new Error(`no gradient by operand ${index}`);
    const zeroed = sample.inputs.map((t, i) =>
      t && ((index === 2 && i === 0) || (index < 2 && i === 2))
        ? Tensor.zeros('float32', t.dims)
        : t,
    );
    const [partial] = evaluateNode(node, zeroed);
    const gradient = results.get(value);
    expect(gradient?.dims).toEqual(operand.dims);
    expect(dot(operand.data, gradient?.data ?? new Float64Array())).toBeCloseTo(
      dot(partial?.data ?? new Float64Array(), dY.data),
      8,
    );
  });
});
