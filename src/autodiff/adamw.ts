// Adam with decoupled weight decay (Loshchilov and Hutter 2019, algorithm 2), as torch.optim.AdamW defines it:
// m' = β₁·m + (1 − β₁)·g;  v' = β₂·v + (1 − β₂)·g²;
// w' = w − η·(m'/(1 − β₁ᵗ) / (√v'/√(1 − β₂ᵗ) + ε) + λ·w).

import type { Value } from '../ir/index.js';
import type { Optimizer, ScalarRole } from './optimizer.js';

export const adamw: Optimizer = {
  scalars: [
    ...(['learning_rate', 'weight_decay', 'beta1', 'beta2', 'beta1_rest', 'beta2_rest'] as const),
    ...(['epsilon', 'bias1', 'bias2'] as const),
  ],
  states: ['moment1', 'moment2'],
  update: ({ weight, gradient, states: [m, v], decays, rate, scalar, b }) => {
    const mix = (old: Value | undefined, keep: ScalarRole, fresh: Value, name: string): Value =>
      b.op('Add', [b.op('Mul', [old, scalar(keep)], { name: `${name}_kept` }), fresh], { name });
    const share = b.op('Mul', [gradient, scalar('beta1_rest')], { name: 'share' });
    const newM = mix(m, 'beta1', share, 'moment1');
    const weighted = b.op('Mul', [gradient, scalar('beta2_rest')], { name: 'weighted' });
    const square = b.op('Mul', [weighted, gradient], { name: 'square' });
    const newV = mix(v, 'beta2', square, 'moment2');
    const root = b.op('Mul', [b.op('Sqrt', [newV], { name: 'root' }), scalar('bias2')], {
      name: 'scale',
    });
    const below = b.op('Add', [root, scalar('epsilon')], { name: 'below' });
    const above = b.op('Mul', [newM, scalar('bias1')], { name: 'above' });
    const adapted = b.op('Div', [above, below], { name: 'adapted' });
    const direction = decays
      ? b.op('Add', [adapted, b.op('Mul', [weight, scalar('weight_decay')], { name: 'decay' })], {
          name: 'direction',
        })
      : adapted;
    const newWeight = b.op('Sub', [weight, b.op('Mul', [direction, rate], { name: 'step' })], {
      name: 'new',
    });
    return { weight: newWeight, states: [newM, newV] };
  },
};
