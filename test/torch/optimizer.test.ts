// Whole steps against torch.optim in float64: optimizer, weight decay, clipping, accumulation, smoothed labels.

import { expect, test } from 'vitest';
import { preResNet } from '../../fixtures/models.js';
import type { Settings } from '../../passes/index.js';
import { completeSettings, scalarsOf } from '../../runtime/optimizer.js';
import type { OptimizerSettings } from '../../runtime/optimizer.js';
import { Tensor } from '../../src/ir/index.js';
import type { Value } from '../../src/ir/index.js';
import { interpret } from '../../src/ops/index.js';
import { constantsByName } from '../../src/verify/index.js';
import { build, couple, evaluate } from '../autodiff/support.js';
import type { Coupled } from '../autodiff/support.js';
import { batchOf, worstTensor } from './distance.js';
import { optimizerReference, saveModel, withFolder } from './python.js';
import type { Batch } from './python.js';

const LIMIT = 1e-9;
const STEPS = 3;

interface Case {
  readonly name: string;
  readonly settings: Partial<Settings>;
  readonly given: OptimizerSettings;
  readonly lr: number;
  /** As torch.optim calls them. */
  readonly options: Readonly<Record<string, unknown>>;
}

const SGD = { given: { momentum: 0.8, weightDecay: 5e-3 }, lr: 0.1, options: { momentum: 0.8 } };
const ADAMW = { given: {}, lr: 0.01, options: {} };
const CASES: readonly Case[] = [
  { name: 'SGD', settings: {}, ...SGD },
  {
    name: 'SGD, Nesterov momentum',
    settings: { nesterov: true },
    ...SGD,
    options: { momentum: 0.8, nesterov: true },
  },
  { name: "AdamW, torch's defaults", settings: { optimizer: 'adamw' }, ...ADAMW },
  {
    name: 'AdamW',
    settings: { optimizer: 'adamw' },
    given: { beta1: 0.7, beta2: 0.95, epsilon: 1e-3, weightDecay: 0.3 },
    lr: 0.01,
    options: { betas: [0.7, 0.95], eps: 1e-3 },
  },
  { name: 'SGD, clipped', settings: { clipNorm: 0.4 }, ...SGD },
  { name: 'SGD, a limit that is not reached', settings: { clipNorm: 1e3 }, ...SGD },
  { name: 'AdamW, clipped', settings: { optimizer: 'adamw', clipNorm: 0.4 }, ...ADAMW },
  { name: 'SGD, smoothed labels', settings: { labelSmoothing: 0.1 }, ...SGD },
  { name: 'SGD, 3 batches per step', settings: { accumulate: 3 }, ...SGD },
  {
    name: 'AdamW, 3 batches per step, clipped, smoothed labels',
    settings: { optimizer: 'adamw', accumulate: 3, clipNorm: 0.4, labelSmoothing: 0.2 },
    ...ADAMW,
  },
];

/** Runs the step repeatedly in float64, its outputs fed back, its scalars made as in a training. */
function train(
  coupled: Coupled,
  { settings, given, lr }: Case,
): { batch: Batch; losses: number[]; state: Map<string, Float64Array> } {
  const { state } = build(coupled, { policy: 'reverse', ...settings });
  const { step, loss, model } = state;
  if (!step || !loss) throw new Error('a step');
  const first = evaluate(
    { state, forwardFlops: 0, stepFlops: 0 },
    constantsByName(coupled.rev),
    11,
  );
  const feeds = new Map(first.feeds);
  const pairs: [Value, Value][] = [
    ...step.updates.flatMap((u): [Value, Value][] => [
      [u.weight, u.newWeight],
      ...u.states.map((s): [Value, Value] => [s.old, s.next]),
    ]),
    ...step.statistics.map((s): [Value, Value] => [s.old, s.next]),
  ];
  const { optimizer, accumulate: parts } = state.settings;
  const rates = { ...completeSettings(optimizer, given), learningRate: lr };
  const losses: number[] = [];
  for (let update = 1; update <= STEPS; update++)
    for (let part = 0; part < parts; part++) {
      const scalars = scalarsOf(optimizer, rates, { update, part, parts });
      for (const [role, value] of step.scalars)
        feeds.set(value, Tensor.of('float64', [], [scalars.get(role) ?? NaN]));
      const results = interpret(model.graph, feeds);
      if (part === parts - 1) losses.push(results.get(loss.loss)?.data[0] ?? NaN);
      for (const [old, next] of pairs) {
        const value = results.get(next);
        if (!value) throw new Error(`${next.name} is no output`);
        feeds.set(old, value);
      }
    }
  const after = new Map(
    pairs.map(([old]) => [old.name, feeds.get(old)?.data ?? new Float64Array()]),
  );
  return { batch: batchOf(first), losses, state: after };
}

test.each(CASES)('$name', async (it) => {
  await withFolder((folder) => {
    const model = preResNet({
      ...({ classes: 3, norm: 'random' } as const),
      ...{ depth: 14, width: 2, image: 16, seed: 36 },
    });
    const original = saveModel(model, folder);
    const own = train(couple(model, { recipe: 'rewire' }), it);
    const { optimizer = 'sgd', clipNorm = 0, accumulate = 1, labelSmoothing = 0 } = it.settings;
    const torch = optimizerReference(
      folder,
      original,
      { family: 'preact', params: { layers: [2, 2, 2] } },
      own.batch,
      {
        optimizer,
        options: { lr: it.lr, ...it.options },
        weight_decay: it.given.weightDecay ?? 0.01,
        clip_norm: clipNorm,
        accumulate,
        label_smoothing: labelSmoothing,
        steps: STEPS,
      },
    );
    own.losses.forEach((loss, i) => expect(loss).toBeCloseTo(torch.losses[i] ?? NaN, 9));
    expect(own.losses[1]).not.toBeCloseTo(own.losses[0] ?? NaN, 3);
    // Both sides of the limit are met.
    for (const norm of torch.norms) expect(norm > clipNorm).toBe(clipNorm < 1);
    expect(worstTensor(own.state, torch.weights)[0]).toBeLessThanOrEqual(LIMIT);
    expect(worstTensor(own.state, torch.running)[0]).toBeLessThanOrEqual(LIMIT);
    expect(torch.states.size).toBe(torch.weights.size * (optimizer === 'adamw' ? 2 : 1));
    expect(worstTensor(own.state, torch.states)[0]).toBeLessThanOrEqual(LIMIT);
  });
});
