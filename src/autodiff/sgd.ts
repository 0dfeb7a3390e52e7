// Stochastic gradient descent with momentum, Nesterov momentum and weight decay, as torch.optim.SGD defines it:
// v' = μ·v + (g + λ·w);  w' = w − η·v', or w' = w − η·(g + λ·w + μ·v') with Nesterov momentum.

import type { Optimizer } from './optimizer.js';

export const sgd = (nesterov: boolean): Optimizer => ({
  scalars: ['learning_rate', 'momentum', 'weight_decay'],
  states: ['velocity'],
  update: ({ weight, gradient, states: [velocity], decays, rate, scalar, b }) => {
    const [momentum, weightDecay] = [scalar('momentum'), scalar('weight_decay')];
    const decayed = decays
      ? b.op('Add', [gradient, b.op('Mul', [weight, weightDecay], { name: 'decay' })], {
          name: 'decayed',
        })
      : gradient;
    const kept = b.op('Mul', [velocity, momentum], { name: 'kept' });
    const newVelocity = b.op('Add', [kept, decayed], { name: 'velocity' });
    const direction = nesterov
      ? b.op('Add', [decayed, b.op('Mul', [newVelocity, momentum], { name: 'ahead' })], {
          name: 'direction',
        })
      : newVelocity;
    const newWeight = b.op('Sub', [weight, b.op('Mul', [direction, rate], { name: 'step' })], {
      name: 'new',
    });
    return { weight: newWeight, states: [newVelocity] };
  },
});
