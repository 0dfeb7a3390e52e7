// Gradients of several batches added up before an update. Without batch norm a mean over K batches is the mean over one
// batch of K times the size: in float64 the two trainings are one.

import { describe, expect, test } from 'vitest';
import { createState } from '../../passes/index.js';
import type { CompileState, Settings } from '../../passes/index.js';
import { completeSettings, scalarsOf } from '../../runtime/optimizer.js';
import type { OptimizerName } from '../../runtime/optimizer.js';
import { buildStep } from '../../src/compiler/index.js';
import { InlineData, Tensor } from '../../src/ir/index.js';
import type { Model, Value } from '../../src/ir/index.js';
import { Random, interpret } from '../../src/ops/index.js';
import { constantsByName } from '../../src/verify/index.js';
import { Net } from '../analysis/net.js';
import { couple } from './support.js';

const CLASSES = 3;
const SMALL = 2;
const PARTS = 3;
const UPDATES = 3;

/** Four residual blocks of convolutions alone, and a linear classifier. */
function withoutBatchNorm(): Model {
  const net = new Net();
  let x = net.conv(net.input(['N', 3, 6, 6]), 3, 4);
  for (let k = 0; k < 4; k++) x = net.add(x, net.conv(net.relu(x)));
  const pooled = net.flatten(net.op('GlobalAveragePool', [net.relu(x)]));
  const scores = net.op('MatMul', [pooled, net.constant([4, CLASSES])]);
  net.model.graph.outputs.push(scores);
  const random = new Random(5);
  for (const value of net.model.graph.constants)
    if (value.constant)
      value.constant = new InlineData(
        Tensor.of('float32', value.constant.dims, random.tensor(value.constant.dims, 0.3).data),
      );
  return net.model;
}

const random = new Random(6);
const images = Array.from({ length: UPDATES }, () => random.tensor([SMALL * PARTS, 3, 6, 6]));
const labels = images.map(() =>
  Array.from({ length: SMALL * PARTS }, () => random.integer(0, CLASSES - 1)),
);

/** Trains on the same samples, `parts` batches of them per update. @returns mean losses, and weights by name */
function train(
  { step, loss, model, settings }: CompileState,
  weights: ReturnType<typeof constantsByName>,
  optimizer: OptimizerName,
): { losses: number[]; weights: Map<string, number[]> } {
  if (!step || !loss) throw new Error('a step');
  const parts = settings.accumulate;
  const feeds = new Map<Value, Tensor>();
  for (const { weight, states } of step.updates) {
    const start = weights.get(weight.name)?.load();
    if (!start) throw new Error(`${weight.name} has no value`);
    feeds.set(weight, start);
    for (const { old } of states) feeds.set(old, Tensor.zeros('float64', start.dims));
  }
  const rates = { ...completeSettings(optimizer, {}), learningRate: 0.05 };
  const losses: number[] = [];
  for (let update = 1; update <= UPDATES; update++) {
    let sum = 0;
    for (let part = 0; part < parts; part++) {
      const size = settings.batch;
      const pixels = images[update - 1]?.data ?? new Float64Array();
      const each = pixels.length / (SMALL * PARTS);
      const from = part * size;
      feeds.set(
        loss.images,
        Tensor.of('float64', [size, 3, 6, 6], pixels.slice(from * each, (from + size) * each)),
      );
      const own = labels[update - 1]?.slice(from, from + size) ?? [];
      feeds.set(loss.labels, Tensor.of('int64', [size], own));
      for (const [role, value] of step.scalars)
        feeds.set(
          value,
          Tensor.of(
            'float64',
            [],
            [scalarsOf(optimizer, rates, { update, part, parts }).get(role) ?? NaN],
          ),
        );
      const results = interpret(model.graph, feeds);
      sum += (results.get(loss.loss)?.data[0] ?? NaN) / parts;
      for (const { weight, newWeight, states } of step.updates)
        for (const { old, next } of [{ old: weight, next: newWeight }, ...states]) {
          const before = feeds.get(old);
          const after = results.get(next);
          if (!after) throw new Error(`${next.name} is no output`);
          feeds.set(old, after);
          // Before the last part, only sums change: not a bit of the rest.
          if (part < parts - 1 && !old.name.endsWith('.gradient_sum'))
            expect(after.toArray(), old.name).toEqual(before?.toArray());
        }
    }
    losses.push(sum);
  }
  return {
    losses,
    weights: new Map(
      step.updates.map((u) => [u.weight.name, feeds.get(u.weight)?.toArray() ?? []]),
    ),
  };
}

describe.each(['sgd', 'adamw'] as const)('%s', (optimizer) => {
  test.each([0, 0.05])('equals one large batch, gradients clipped at %d (0: not)', (clipNorm) => {
    const coupled = couple(withoutBatchNorm(), { recipe: 'rewire' });
    expect(coupled.chains).toHaveLength(1);
    const weights = constantsByName(coupled.rev);
    const build = (more: Partial<Settings>): CompileState =>
      buildStep(coupled.rev, coupled.chains, {
        ...createState(coupled.rev).settings,
        optimizer,
        clipNorm,
        ...more,
      }).state;
    const whole = train(build({ batch: SMALL * PARTS }), weights, optimizer);
    const parts = train(build({ batch: SMALL, accumulate: PARTS }), weights, optimizer);
    whole.losses.forEach((loss, i) => expect(parts.losses[i]).toBeCloseTo(loss, 12));
    for (const [name, values] of whole.weights) {
      expect(values).not.toEqual(weights.get(name)?.load().toArray());
      // AdamW divides by the root of a square: what rounding does to a gradient near 0 it makes larger.
      values.forEach((v, i) =>
        expect(Math.abs((parts.weights.get(name)?.[i] ?? NaN) - v)).toBeLessThanOrEqual(1e-11),
      );
    }
  });
});
