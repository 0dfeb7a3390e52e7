// What an optimizer is fed. In: its settings, the number of the update, where in an accumulation a batch stands. Out:
// the scalar inputs of a step. Invariant: pure functions of these numbers, so a training that is continued needs no
// state of theirs.

import { DiagnosticError } from '../src/diagnostics/index.js';
import type { Plan, ScalarRole } from '../src/plan/index.js';

export type OptimizerName = Plan['assumptions']['optimizer'];

/** Settings that stay the same over a training; those an optimizer does not have are absent. */
export interface OptimizerSettings {
  /** SGD. Default 0.9. */
  readonly momentum?: number;
  /** AdamW. Defaults 0.9, 0.999 and 1e-8. */
  readonly beta1?: number;
  readonly beta2?: number;
  readonly epsilon?: number;
  /** Applies to weights, not to biases and batch norm. Default 5e-4 for SGD, 0.01 for AdamW. */
  readonly weightDecay?: number;
}

/** What is usual for residual networks, and PyTorch's defaults. */
const DEFAULTS: Readonly<Record<OptimizerName, OptimizerSettings>> = {
  sgd: { momentum: 0.9, weightDecay: 5e-4 },
  adamw: { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, weightDecay: 0.01 },
};

export const DEFAULT_RATE: Readonly<Record<OptimizerName, number>> = { sgd: 0.1, adamw: 1e-3 };

const NAMES = ['momentum', 'beta1', 'beta2', 'epsilon', 'weightDecay'] as const;

/** Every setting the optimizer has. @throws DiagnosticError usage/option where one is given that it does not have */
export function completeSettings(
  optimizer: OptimizerName,
  given: OptimizerSettings,
): OptimizerSettings {
  const own = DEFAULTS[optimizer];
  for (const name of NAMES)
    if (given[name] !== undefined && own[name] === undefined)
      throw new DiagnosticError(
        'usage/option',
        name,
        `the step was compiled for ${optimizer}, which has none`,
        `leave it out, or compile with --optimizer ${optimizer === 'sgd' ? 'adamw' : 'sgd'}`,
      );
  return Object.fromEntries(
    NAMES.filter((name) => own[name] !== undefined).map((name) => [name, given[name] ?? own[name]]),
  );
}

export interface Position {
  /** Number of the update the batch belongs to, from 1. */
  readonly update: number;
  /** Number of the batch among those of the update, from 0, and how many they are. */
  readonly part: number;
  readonly parts: number;
}

/**
 * The scalars of one run of the step. A batch that is not the last of its update only adds its gradients to the sum:
 * weights and state are multiplied by 1 and what is added to them by 0.
 */
export function scalarsOf(
  optimizer: OptimizerName,
  settings: OptimizerSettings & { readonly learningRate: number },
  { update, part, parts }: Position,
): ReadonlyMap<ScalarRole, number> {
  const { learningRate, weightDecay = 0 } = settings;
  const applies = part === parts - 1;
  const scalars = new Map<ScalarRole, number>([
    ['learning_rate', applies ? learningRate : 0],
    ['weight_decay', applies ? weightDecay : 0],
    ['carry', part === 0 ? 0 : 1],
    ['gain', applies ? 1 / parts : 0],
  ]);
  if (optimizer === 'sgd') return scalars.set('momentum', applies ? (settings.momentum ?? 0) : 1);
  const { beta1 = 0, beta2 = 0, epsilon = 0 } = settings;
  return scalars
    .set('beta1', applies ? beta1 : 1)
    .set('beta2', applies ? beta2 : 1)
    .set('beta1_rest', applies ? 1 - beta1 : 0)
    .set('beta2_rest', applies ? 1 - beta2 : 0)
    .set('epsilon', epsilon)
    .set('bias1', 1 / (1 - beta1 ** update))
    .set('bias2', 1 / Math.sqrt(1 - beta2 ** update));
}
