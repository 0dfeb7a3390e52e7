// Learning rates over time. In: a shape, the highest rate and the number of steps. Out: the rate of one step.
// Invariant: pure functions of the step's number, so that a training that is continued needs no state of theirs.

import { DiagnosticError } from '../src/diagnostics/index.js';

export type ScheduleShape =
  /** The same rate all along. */
  | { readonly kind: 'constant' }
  /** Half a cosine wave from the rate down to 0. */
  | { readonly kind: 'cosine' }
  /** A straight line from the rate down to 0. */
  | { readonly kind: 'linear' }
  /** Times gamma at each milestone: a step, or, below 1, a fraction of all steps. */
  | { readonly kind: 'step'; readonly milestones: readonly number[]; readonly gamma: number };

export interface Schedule {
  readonly shape: ScheduleShape;
  /** The highest rate. */
  readonly rate: number;
  /** Steps of the whole training. */
  readonly steps: number;
  /** Steps over which the rate first rises, in a straight line, to `rate`. */
  readonly warmup: number;
}

const DEFAULT_MILESTONES = [0.5, 0.75];
const DEFAULT_GAMMA = 0.1;

/** The learning rate of a step, counted from 0. */
export function learningRate(schedule: Schedule, step: number): number {
  const { rate, steps, warmup } = schedule;
  if (step < warmup) return (rate * (step + 1)) / warmup;
  return rate * factor(schedule.shape, step, steps, warmup);
}

function factor(shape: ScheduleShape, step: number, steps: number, warmup: number): number {
  const progress = Math.min(1, (step - warmup) / Math.max(1, steps - warmup));
  switch (shape.kind) {
    case 'constant':
      return 1;
    case 'cosine':
      return (1 + Math.cos(Math.PI * progress)) / 2;
    case 'linear':
      return 1 - progress;
    case 'step': {
      const passed = shape.milestones.filter((m) => step >= (m < 1 ? m * steps : m)).length;
      return shape.gamma ** passed;
    }
  }
}

/**
 * Reads a shape as the command line takes it: constant, cosine, linear, step, step:0.5,0.75 or
 * step:32000,48000:0.1 (milestones, then gamma). @throws DiagnosticError usage/option
 */
export function parseSchedule(text: string): ScheduleShape {
  const [kind, milestones, gamma, ...rest] = text.split(':');
  const bad = (why: string): DiagnosticError =>
    new DiagnosticError('usage/option', `learning-rate schedule ${text}`, why);
  if (kind === 'constant' || kind === 'cosine' || kind === 'linear') {
    if (milestones !== undefined) throw bad(`${kind} takes no further values`);
    return { kind };
  }
  if (kind !== 'step') throw bad('it is none of constant, cosine, linear, step');
  const shape: ScheduleShape = {
    kind: 'step',
    milestones: milestones === undefined ? DEFAULT_MILESTONES : milestones.split(',').map(Number),
    gamma: gamma === undefined ? DEFAULT_GAMMA : Number(gamma),
  };
  const ascending = shape.milestones.every(
    (m, i, all) => m > 0 && Number.isFinite(m) && (i === 0 || m > (all[i - 1] ?? 0)),
  );
  if (!ascending || milestones === '') throw bad('milestones are ascending positive numbers');
  if (!(shape.gamma > 0) || gamma === '' || !Number.isFinite(shape.gamma))
    throw bad('gamma is a positive number');
  if (rest.length > 0) throw bad('it has too many parts');
  return shape;
}
