// Exactness in float64. In: the coupled network at a very small batch. Out: recompute against stored gradients, and
// stored gradients against finite differences, all by the reference interpreter. Invariant: independent of ONNX
// Runtime and of float32 rounding, so what is left is an error of the compiler.

import type { CompileState } from '../../passes/index.js';
import { regionBetween } from '../analysis/index.js';
import { Tensor } from '../ir/index.js';
import type { ConstantData, Value } from '../ir/index.js';
import { Random, interpret } from '../ops/index.js';
import { compareGradients } from './compare.js';
import type { GradientDistance } from './compare.js';
import { exposeStep, stepFeeds } from './probes.js';
import type { Probe } from './probes.js';

export interface Float64Result {
  /** Gradients with recompute against gradients with everything stored. */
  readonly recompute: GradientDistance;
  /** Relative gap between directional derivatives by the gradient and by central differences. */
  readonly finiteDifferences: number;
}

type Feeds = ReadonlyMap<Value, Tensor>;

const run = (probe: Probe, feeds: Feeds): Map<Value, Tensor> => interpret(probe.model.graph, feeds);

function gradientsOf(probe: Probe, results: ReadonlyMap<Value, Tensor>): Map<string, Float64Array> {
  const gradients = new Map<string, Float64Array>();
  for (const [name, value] of probe.gradients)
    gradients.set(name, results.get(value)?.data ?? new Float64Array());
  return gradients;
}

/** Length of the step along a direction of length about 1: short of most ReLU kinks, far above float64 noise. */
const STEP = 1e-5;
const DIRECTIONS = 3;

const unit = (v: Float64Array, length: number): Float64Array => v.map((x) => x / length);
const lengthOf = (parts: Iterable<Float64Array>): number => {
  let sum = 0;
  for (const part of parts) for (const x of part) sum += x * x;
  return Math.sqrt(sum);
};

/**
 * A random direction plus the gradient's own, so that the derivative along it is not the small difference of
 * large terms.
 */
function direction(
  gradients: ReadonlyMap<string, Float64Array>,
  random: Random,
): Map<string, Float64Array> {
  const noise = new Map([...gradients].map(([name, g]) => [name, g.map(() => random.normal())]));
  const [g, n] = [lengthOf(gradients.values()), lengthOf(noise.values())];
  return new Map(
    [...gradients].map(([name, part]) => {
      const other = unit(noise.get(name) ?? part, n);
      return [name, unit(part, g).map((x, i) => x + (other[i] ?? 0))];
    }),
  );
}

function directionalGap(
  probe: Probe,
  feeds: Feeds,
  gradients: ReadonlyMap<string, Float64Array>,
  seed: number,
): number {
  const random = new Random(seed);
  let worst = 0;
  for (let d = 0; d < DIRECTIONS; d++) {
    const steps = direction(gradients, random);
    const lossAt = (sign: number): number => {
      const moved = new Map(feeds);
      for (const [value, at] of feeds) {
        const step = steps.get(value.name);
        if (step)
          moved.set(
            value,
            new Tensor(
              at.dtype,
              at.dims,
              at.data.map((x, i) => x + sign * STEP * (step[i] ?? 0)),
            ),
          );
      }
      return interpretLoss(probe, moved);
    };
    const numeric = (lossAt(1) - lossAt(-1)) / (2 * STEP);
    let exact = 0;
    for (const [name, step] of steps)
      gradients.get(name)?.forEach((g, i) => {
        exact += g * (step[i] ?? 0);
      });
    worst = Math.max(worst, Math.abs(numeric - exact) / Math.abs(exact));
  }
  return worst;
}

/** Runs only what the loss needs. */
function interpretLoss(probe: Probe, feeds: Feeds): number {
  const nodes = regionBetween([probe.loss], new Set());
  return interpret({ nodes, outputs: [probe.loss] }, feeds).get(probe.loss)?.data[0] ?? NaN;
}

/** @param reversed, stored the step under the plan's policy and with everything stored, at the same batch */
export function verifyFloat64(
  reversed: CompileState,
  stored: CompileState,
  weights: ReadonlyMap<string, ConstantData>,
  seed: number,
): Float64Result {
  const [a, b] = [exposeStep(reversed), exposeStep(stored)];
  const recomputed = gradientsOf(a, run(a, stepFeeds(reversed, weights, seed)));
  const feeds = stepFeeds(stored, weights, seed);
  const reference = gradientsOf(b, run(b, feeds));
  return {
    recompute: compareGradients(recomputed, reference, 1e-9),
    finiteDifferences: directionalGap(b, feeds, reference, seed + 1),
  };
}
