// Stochastic gradient descent with momentum, Nesterov momentum and weight decay, as torch.optim.SGD defines
// it. In: weights with their gradients. Out: update nodes, new weights and new momentum as graph outputs.
// Invariant: a new weight depends, by data, on everything that reads the old one, so that a runtime may write
// it into the same memory.

import { sameShape } from '../ir/index.js';
import type { Value } from '../ir/index.js';
import type { Builder } from '../ops/index.js';

export interface SgdInputs {
  readonly learningRate: Value;
  readonly momentum: Value;
  readonly weightDecay: Value;
}

export interface WeightUpdate {
  readonly weight: Value;
  readonly velocity: Value;
  readonly newWeight: Value;
  readonly newVelocity: Value;
}

export interface SgdOptions {
  readonly nesterov: boolean;
  /** Whether weight decay applies: to weights proper, not to biases and batch norm. */
  readonly decays: boolean;
}

/**
 * v' = μ·v + (g + λ·w);  w' = w − η·v', or w' = w − η·(g + λ·w + μ·v') with Nesterov momentum.
 * @param released token that proves every reader of the old weight has run; added to the learning rate
 */
export function updateWeight(
  weight: Value,
  gradient: Value,
  velocity: Value,
  released: Value | undefined,
  inputs: SgdInputs,
  options: SgdOptions,
  root: Builder,
): WeightUpdate {
  const b = root.within({
    phase: 'update',
    path: `update/${weight.name}`,
    origin: weight.name,
    unit: gradient.producer?.unit ?? 'update',
  });
  if (!sameShape(weight.shape, gradient.shape))
    throw new Error(
      `internal error: gradient of ${weight.name} has shape [${String(gradient.shape)}], not [${String(weight.shape)}]`,
    );
  const decayed = options.decays
    ? b.op('Add', [gradient, b.op('Mul', [weight, inputs.weightDecay], { name: 'decay' })], {
        name: 'decayed',
      })
    : gradient;
  const kept = b.op('Mul', [velocity, inputs.momentum], { name: 'kept' });
  const newVelocity = b.op('Add', [kept, decayed], { name: 'velocity' });
  const direction = options.nesterov
    ? b.op('Add', [decayed, b.op('Mul', [newVelocity, inputs.momentum], { name: 'ahead' })], {
        name: 'direction',
      })
    : newVelocity;
  const rate = released
    ? b.op('Add', [inputs.learningRate, released], { name: 'rate' })
    : inputs.learningRate;
  const newWeight = b.op('Sub', [weight, b.op('Mul', [direction, rate], { name: 'step' })], {
    name: 'new',
  });
  return { weight, velocity, newWeight, newVelocity };
}
