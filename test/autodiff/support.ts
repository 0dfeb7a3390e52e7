// Narrow networks, their steps, and the float64 checks a step has to pass. In: a fixture network, settings, perhaps
// a fault to inject. Out: distances and the checks that fail. Invariant: every check here can fail: mutants.test.ts
// shows each of them failing.

import { preResNet, resNetImageNet, resNetV1 } from '../../fixtures/models.js';
import { gpt, visionTransformer } from '../../fixtures/transformers.js';
import type { CompileState, Settings } from '../../passes/index.js';
import { DEFAULT_SETTINGS } from '../../passes/index.js';
import { analyseModel, buildStep } from '../../src/compiler/index.js';
import type { StepBuild } from '../../src/compiler/index.js';
import { Tensor } from '../../src/ir/index.js';
import type { Graph, Model, Value } from '../../src/ir/index.js';
import { Random, interpret } from '../../src/ops/index.js';
import type { CoupledChain } from '../../src/reversible/index.js';
import {
  compareGradients,
  constantsByName,
  exposeStep,
  stepFeeds,
} from '../../src/verify/index.js';
import type { GradientDistance } from '../../src/verify/index.js';

const CLASSES = 3;

/** Name → a fresh narrow network of each family. Batch norm parameters are drawn, so that mixing two up shows. */
export const NETWORKS: Readonly<Record<string, () => Model>> = {
  // 32x32: large enough for the streams to be read through views (autodiff/views.ts) at batch 3.
  'pre-activation 20': () =>
    preResNet({ depth: 20, width: 2, image: 32, classes: CLASSES, seed: 1, norm: 'random' }),
  'v1 20, option A': () =>
    resNetV1({ depth: 20, width: 2, image: 16, classes: CLASSES, seed: 2, norm: 'random' }),
  'v1 bottleneck with max pool': () =>
    resNetImageNet({
      layers: [3, 3],
      block: 'bottleneck',
      // Halved it keeps two channels: batch norm of one is too badly conditioned for the limits.
      width: 4,
      image: 32,
      classes: CLASSES,
      seed: 3,
      norm: 'random',
    }),
  // One token sequence per image; channels are the last axis of the streams.
  'vision transformer': () =>
    visionTransformer({
      depth: 2,
      width: 8,
      heads: 2,
      patch: 4,
      image: 8,
      classes: CLASSES,
      seed: 4,
    }),
  // Token numbers in, scores per token out.
  // Every block reads a second input besides its streams.
  'gpt, biased attention': () =>
    gpt({ depth: 2, width: 8, heads: 2, tokens: 5, vocabulary: 7, seed: 6, bias: true }),
  gpt: () => gpt({ depth: 2, width: 8, heads: 2, tokens: 5, vocabulary: 7, seed: 5 }),
};

const BATCH = 3;

/** Every way of sharing the channels out. */
export const FORMS = [
  { recipe: 'rewire', partition: 'widen', match: 'none' },
  { recipe: 'rewire', partition: 'split', match: 'none' },
  { recipe: 'paper', partition: 'widen', match: 'none' },
  { recipe: 'paper', partition: 'split', match: 'params' },
] as const satisfies readonly Partial<Settings>[];

export interface Coupled {
  readonly rev: Model;
  readonly chains: readonly CoupledChain[];
  readonly settings: Settings;
  readonly analysis: CompileState;
}

/** Imports and couples a network, which is used up; by recipe rewire unless said otherwise. */
export function couple(model: Model, more: Partial<Settings> = {}): Coupled {
  const settings: Settings = { ...DEFAULT_SETTINGS, recipe: 'rewire', batch: BATCH, ...more };
  const analysis = analyseModel(model, settings);
  return { rev: model, chains: analysis.chains, settings, analysis };
}

/** Changes the step right after differentiation, before its gradients are lowered. */
export type Fault = (graph: Graph) => void;

export function build(
  { rev, chains, settings }: Coupled,
  more: Partial<Settings> = {},
  fault?: Fault,
): StepBuild {
  return buildStep(
    rev,
    chains,
    { ...settings, ...more },
    fault
      ? [
          {
            afterPass: (name, model) => {
              if (name === 'differentiate') fault(model.graph);
            },
          },
        ]
      : [],
  );
}

/** The same network as an ordinary graph: nothing knows of chains, every interior is kept. */
export const buildStored = (coupled: Coupled, more: Partial<Settings> = {}): StepBuild =>
  build({ ...coupled, chains: [] }, { ...more, policy: 'store' });

export interface Evaluation {
  readonly state: CompileState;
  readonly loss: number;
  readonly logits: Float64Array;
  readonly gradients: ReadonlyMap<string, Float64Array>;
  /** Running statistic → its new value. */
  readonly running: ReadonlyMap<string, Float64Array>;
  readonly feeds: ReadonlyMap<Value, Tensor>;
  readonly results: ReadonlyMap<Value, Tensor>;
}

export type ChangeFeeds = (feeds: Map<Value, Tensor>, state: CompileState) => void;

/** Runs a step in float64. */
export function evaluate(
  { state }: StepBuild,
  weights: ReturnType<typeof constantsByName>,
  seed: number,
  change?: ChangeFeeds,
): Evaluation {
  const probe = exposeStep(state);
  const feeds = stepFeeds(state, weights, seed);
  change?.(feeds, state);
  const results = interpret(probe.model.graph, feeds);
  const read = (value: Value): Float64Array => {
    const tensor = results.get(value);
    if (!tensor) throw new Error(`${value.name} was not computed`);
    return tensor.data;
  };
  return {
    state,
    loss: read(probe.loss)[0] ?? NaN,
    logits: read(probe.logits),
    gradients: new Map([...probe.gradients].map(([name, value]) => [name, read(value)])),
    running: new Map((state.step?.statistics ?? []).map((s) => [s.old.name, read(s.next)])),
    feeds,
    results,
  };
}

/** Loss alone, at given operands. */
function lossAt({ state }: Evaluation, feeds: ReadonlyMap<Value, Tensor>): number {
  const loss = state.loss?.loss;
  if (!loss) throw new Error('a step without a loss');
  const nodes = [...state.model.graph.nodes].filter((n) => n.phase === 'forward');
  return interpret({ nodes, outputs: [loss] }, feeds).get(loss)?.data[0] ?? NaN;
}

/** Relative gap between the derivative by the gradient and by central differences, along random directions. */
function finiteDifferenceGap(at: Evaluation, seed: number, directions = 3): number {
  const random = new Random(seed);
  const norm = Math.sqrt(
    [...at.gradients.values()].flatMap((g) => [...g]).reduce((s, x) => s + x * x, 0),
  );
  const step = 1e-6;
  let worst = 0;
  for (let d = 0; d < directions; d++) {
    // The gradient's own direction and noise of the same size: no small difference of large terms.
    const noise = new Map([...at.gradients].map(([n, g]) => [n, g.map(() => random.normal())]));
    const size = Math.sqrt([...noise.values()].reduce((n, v) => n + v.length, 0));
    const direction = new Map(
      [...at.gradients].map(([n, g]) => [
        n,
        g.map((x, i) => x / norm + (noise.get(n)?.[i] ?? 0) / size),
      ]),
    );
    const moved = (sign: number): Map<Value, Tensor> =>
      new Map(
        [...at.feeds].map(([value, tensor]) => {
          const along = direction.get(value.name);
          if (!along) return [value, tensor];
          const copy = tensor.data.map((x, i) => x + sign * step * (along[i] ?? 0));
          return [value, new Tensor(tensor.dtype, tensor.dims, copy)];
        }),
      );
    const numeric = (lossAt(at, moved(1)) - lossAt(at, moved(-1))) / (2 * step);
    let exact = 0;
    for (const [n, along] of direction)
      at.gradients.get(n)?.forEach((g, i) => (exact += g * (along[i] ?? 0)));
    worst = Math.max(worst, Math.abs(numeric - exact) / Math.abs(exact));
  }
  return worst;
}

/** Largest relative gap between the new running statistics and those its definition gives for the batch. */
function statisticsGap(at: Evaluation): number {
  const { statistics, model } = at.state;
  const batch = interpret(
    {
      nodes: [...model.graph.nodes].filter((n) => n.phase === 'forward'),
      outputs: statistics.flatMap((s) => [s.batchMean, s.batchVariance]),
    },
    at.feeds,
  );
  let worst = 0;
  for (const s of statistics)
    for (const [old, now, scale] of [
      [s.runningMean, s.batchMean, 1],
      // PyTorch keeps the unbiased variance.
      [s.runningVariance, s.batchVariance, s.count / (s.count - 1)],
    ] as const) {
      const [before, fresh] = [at.feeds.get(old)?.data, batch.get(now)?.data];
      at.running.get(old.name)?.forEach((got, i) => {
        const want =
          s.momentum * (before?.[i] ?? NaN) + (1 - s.momentum) * scale * (fresh?.[i] ?? NaN);
        const gap = Math.abs(got - want) / Math.max(1e-3, Math.abs(want));
        if (!(gap <= worst)) worst = gap;
      });
    }
  return worst;
}

export type Check = 'recompute' | 'finite differences' | 'running statistics';

export const LIMITS: Readonly<Record<Check, number>> = {
  recompute: 1e-9,
  'finite differences': 1e-4,
  'running statistics': 1e-9,
};

export interface Report {
  readonly gradient: GradientDistance;
  readonly figures: Readonly<Record<Check, number>>;
  /** The checks whose figure exceeds its limit. */
  readonly failed: readonly Check[];
}

/** Runs every check on one step. Tensors below 1e-9 of the whole gradient are compared absolutely. */
export function check(
  coupled: Coupled,
  more: Partial<Settings>,
  options: { readonly fault?: Fault; readonly feeds?: ChangeFeeds; readonly seed?: number } = {},
): Report {
  const { fault, feeds, seed = 5 } = options;
  const weights = constantsByName(coupled.rev);
  const own = evaluate(build(coupled, more, fault), weights, seed, feeds);
  const stored = evaluate(buildStored(coupled, more), weights, seed, feeds);
  const gradient = compareGradients(own.gradients, stored.gradients, 1e-9);
  const figures = {
    // Math.max hands a NaN on.
    recompute: Math.max(gradient.maxTensor, gradient.relL2),
    'finite differences': finiteDifferenceGap(own, seed + 1),
    'running statistics': statisticsGap(own),
  };
  const names: readonly Check[] = ['recompute', 'finite differences', 'running statistics'];
  // Not "> limit": NaN must fail.
  return { gradient, figures, failed: names.filter((name) => !(figures[name] <= LIMITS[name])) };
}
