// Lowerings of batch norm against their definitions, and their errors in float32 where the mean is many
// deviations away from 0: differences of large sums would cancel there.

import { describe, expect, test } from 'vitest';
import { Attributes, Graph, Tensor, float } from '../../src/ir/index.js';
import { batchNormGradientOps } from '../../src/ops/batchnorm-gradient.js';
import { batchNormOps } from '../../src/ops/batchnorm.js';
import { channelData, channelStatistics } from '../../src/ops/channels.js';
import { Builder, Random, interpret } from '../../src/ops/index.js';
import { applyLowering, findLowering } from '../../src/lowering/index.js';
import { TARGETS, casesOf, errorsOf, lowered, pick } from './agreement.js';

const forward = pick(batchNormOps, 'BatchNormTrain', 'BatchNormApply');
const backward = pick(batchNormGradientOps, 'BatchNormGrad');

const isFar = (label: string): boolean => label.includes('50 deviations');

test.each(casesOf([...forward, ...backward]))('%s, %s', async (target, label, op, sample) => {
  const errors = await errorsOf(lowered(op, sample, target));
  expect(errors.double).toBeLessThan(1e-11);
  // X itself is spaced 50 · 2^-24 = 3e-6 deviations apart at 50 deviations.
  expect(errors.single).toBeLessThan(isFar(label) ? 3e-5 : 1e-5);
});

describe.each(TARGETS)('%s, in float32', (target) => {
  // Without centring X the error of dgamma is 1e-3 at 50 deviations, without taking the rounding of the mean
  // out of it 1e-4.
  test.each([
    [0, [8, 4, 24, 24]],
    [3, [8, 4, 24, 24]],
    [50, [8, 4, 24, 24]],
    [50, [32, 4, 8, 8]],
    [50, [512, 3]],
  ])('gradient at a mean of %d deviations, %j', async (offset, dims) => {
    const random = new Random(3);
    const channels = dims[1] ?? 1;
    const x = channelData(random, dims, offset);
    const { mean, variance } = channelStatistics(x);
    const vector = (data: Float64Array): Tensor => Tensor.of('float32', [channels], data);
    // Mostly of one sign, so that its sum times the mean of X is large.
    const dY = random.tensor(dims, 1, 1);
    const exact = [x, dY, random.tensor([channels]), vector(mean), vector(variance)];
    // Fed as float32, compared with what the exact statistics give.
    const sample = {
      label: '',
      inputs: exact,
      outputs: 3,
      attributes: new Attributes({ epsilon: float(1e-5) }),
    };
    const step = lowered(backward[0] ?? expect.fail(), sample, target);
    const errors = await errorsOf(step);
    expect(errors.double).toBeLessThan(1e-11);
    expect(errors.single).toBeLessThan(5e-6);
  });

  test.each([
    [3, 5e-6],
    [50, 5e-5],
  ])('forward at a mean of %d deviations', async (offset, bound) => {
    const x = channelData(new Random(5), [8, 4, 24, 24], offset);
    const inputs = [x, vectorOf(1, 2, -1, 0.5), vectorOf(0, 1, -1, 2)];
    const attributes = new Attributes({ epsilon: float(1e-5) });
    const train = lowered(
      forward[0] ?? expect.fail(),
      { label: '', inputs, outputs: 3, attributes },
      target,
    );
    const [, mean, variance] = train.expected;
    expect((await errorsOf(train)).single).toBeLessThan(bound);
    const apply = lowered(
      forward[1] ?? expect.fail(),
      { label: '', inputs: [...inputs, mean, variance], attributes },
      target,
    );
    expect((await errorsOf(apply)).single).toBeLessThan(bound);
  });
});

const vectorOf = (...values: number[]): Tensor => Tensor.of('float32', [values.length], values);

test('each CPU node has running statistics of its own', () => {
  const graph = new Graph();
  const b = new Builder(graph, { phase: 'forward', path: 't' });
  const x = graph.addInput('x', { dtype: 'float32', shape: [2, 4, 3, 3] });
  const gamma = b.constant(vectorOf(1, 1, 1, 1));
  const beta = b.constant(vectorOf(0, 0, 0, 0));
  const nodes = [x, x].map((value) =>
    b.node('revnetify.BatchNormTrain', [value, gamma, beta], { outputs: 3 }),
  );
  for (const node of nodes) graph.outputs.push(node.output());
  for (const node of nodes) {
    const rule = findLowering(node, 'cpu') ?? expect.fail();
    applyLowering(graph, node, rule, b);
  }
  const statistics = [...graph.nodes].flatMap((node) => [node.input(3), node.input(4)]);
  expect(statistics).toHaveLength(4);
  expect(new Set(statistics).size).toBe(4);
});

test('a recomputed node applies the statistics of the forward pass', () => {
  const graph = new Graph();
  const b = new Builder(graph, { phase: 'forward', path: 't' });
  const x = graph.addInput('x', { dtype: 'float32', shape: [2, 4, 3, 3] });
  const again = graph.addInput('again', { dtype: 'float32', shape: [2, 4, 3, 3] });
  const vectors = [b.constant(vectorOf(1, 2, 3, 4)), b.constant(vectorOf(0, 1, 0, 1))];
  const node = b.node('revnetify.BatchNormTrain', [x, ...vectors], { outputs: 3 });
  const [y, mean, variance] =
    forward[0]?.recompute?.(node, [again, ...vectors], b, node) ?? expect.fail();
  expect([mean, variance]).toEqual([node.output(1), node.output(2)]);
  expect(y?.producer?.op).toBe('BatchNormApply');
  graph.outputs.push(node.output(), y ?? expect.fail());
  const tensor = new Random(2).tensor([2, 4, 3, 3]);
  const [first, second] = [
    ...interpret(graph, new Map([x, again].map((v) => [v, tensor]))).values(),
  ];
  expect(second?.data).toEqual(first?.data);
});
