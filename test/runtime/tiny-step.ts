// Step graphs written by hand, for the tests of the runtime. In: a folder. Out: rev.onnx, train.onnx and the plan
// of a linear classifier, or of a graph that needs a known amount of memory. Invariant: referenceLosses computes
// the same training in plain float64 JavaScript and shares nothing with the graph.

import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { Model, Tensor, InlineData, float, int, ints } from '../../src/ir/index.js';
import type { Attribute, DataType, Graph, Value } from '../../src/ir/index.js';
import { writeModel } from '../../src/onnx/index.js';
import { PLAN_SCHEMA_VERSION } from '../../src/plan/index.js';
import type { Plan, PlanInput } from '../../src/plan/index.js';

export const BATCH = 8;
const CHANNELS = 2;
const SIDE = 3;
const FEATURES = CHANNELS * SIDE * SIDE;
export const CLASSES = 3;
const KEPT = 0.9;
const FLOAT = 1;

export interface Batch {
  readonly images: Float32Array;
  readonly labels: BigInt64Array;
}

export interface Sgd {
  readonly learningRate: number;
  readonly momentum: number;
  readonly weightDecay: number;
}

/** Weights [features, classes], spread over both signs. */
export const initialWeights = (): Float32Array =>
  Float32Array.from({ length: FEATURES * CLASSES }, (_, i) => Math.sin(i * 1.7) / 4);
const initialBias = (): Float32Array => Float32Array.from([0.1, -0.2, 0.05]);

/** Adds nodes without type inference: what a graph means here is up to ONNX Runtime. */
class Maker {
  constructor(readonly graph: Graph) {}

  input(name: string, shape: readonly (number | string)[], dtype: DataType = 'float32'): Value {
    return this.graph.addInput(name, { dtype, shape });
  }

  op(
    op: string,
    inputs: readonly Value[],
    name: string,
    attributes: Record<string, Attribute> = {},
  ): Value {
    return this.graph.addNode({ op, inputs, outputs: [name], attributes }).output();
  }

  scalar(value: number): Value {
    return this.floats([], [value], 'scalar');
  }

  floats(dims: readonly number[], values: ArrayLike<number>, name: string): Value {
    return this.graph.addConstant(name, new InlineData(Tensor.of('float32', dims, values)));
  }

  indices(values: readonly number[]): Value {
    return this.graph.addConstant('indices', new InlineData(Tensor.ints(values)));
  }

  output(value: Value, shape: readonly (number | string)[]): void {
    value.type = { dtype: 'float32', shape };
    this.graph.outputs.push(value);
  }
}

function newModel(): { model: Model; make: Maker } {
  const model = new Model();
  model.opsets.set('', 17);
  return { model, make: new Maker(model.graph) };
}

function commonInputs(make: Maker): {
  images: Value;
  labels: Value;
  learningRate: Value;
  momentum: Value;
  weightDecay: Value;
} {
  return {
    images: make.input('images', [BATCH, CHANNELS, SIDE, SIDE]),
    labels: make.input('labels', [BATCH], 'int64'),
    learningRate: make.input('learning_rate', []),
    momentum: make.input('momentum', []),
    weightDecay: make.input('weight_decay', []),
  };
}

/** x·W + b with softmax cross-entropy and SGD; the mean input is kept as a running statistic. */
function trainGraph(): Model {
  const { model, make } = newModel();
  const { images, labels, learningRate, momentum, weightDecay } = commonInputs(make);
  const x = make.op('Flatten', [images], 'x', { axis: int(1) });
  const weight = make.input('W', [FEATURES, CLASSES]);
  const bias = make.input('b', [CLASSES]);
  const scores = make.op('Add', [make.op('MatMul', [x, weight], 'product'), bias], 'logits');
  const logs = make.op('LogSoftmax', [scores], 'logs', { axis: int(1) });
  const depth = make.indices([CLASSES]);
  const hot = make.op('OneHot', [labels, depth, make.floats([2], [0, 1], 'off_on')], 'hot');
  const sum = make.op('ReduceSum', [make.op('Mul', [logs, hot], 'picked')], 'sum', {
    keepdims: int(0),
  });
  const loss = make.op('Mul', [sum, make.scalar(-1 / BATCH)], 'loss');
  const best = make.op('ArgMax', [scores], 'best', { axis: int(1), keepdims: int(0) });
  const hits = make.op('Cast', [make.op('Equal', [best, labels], 'hit')], 'hits', {
    to: int(FLOAT),
  });
  const correct = make.op('ReduceSum', [hits], 'correct', { keepdims: int(0) });
  const off = make.op('Sub', [make.op('Exp', [logs], 'chances'), hot], 'off');
  const d = make.op('Mul', [off, make.scalar(1 / BATCH)], 'd_logits');
  const xt = make.op('Transpose', [x], 'xt', { perm: ints([1, 0]) });
  const dW = make.op('MatMul', [xt, d], 'dW');
  const db = make.op('ReduceSum', [d, make.indices([0])], 'db', { keepdims: int(0) });

  make.output(loss, []);
  make.output(correct, []);
  const update = (old: Value, gradient: Value, shape: readonly number[], decays: boolean): void => {
    const name = old.name;
    const velocity = make.input(`${name}.velocity`, shape);
    const g = decays
      ? make.op('Add', [gradient, make.op('Mul', [old, weightDecay], `${name}/decay`)], `${name}/g`)
      : gradient;
    const kept = make.op('Mul', [velocity, momentum], `${name}/kept`);
    const next = make.op('Add', [kept, g], `${name}/velocity`);
    const step = make.op('Mul', [next, learningRate], `${name}/step`);
    make.output(make.op('Sub', [old, step], `${name}/new`), shape);
    make.output(next, shape);
  };
  update(weight, dW, [FEATURES, CLASSES], true);
  update(bias, db, [CLASSES], false);
  const mean = make.input('mean', [FEATURES]);
  const fresh = make.op('ReduceMean', [x], 'batch_mean', { axes: ints([0]), keepdims: int(0) });
  const a = make.op('Mul', [mean, make.scalar(KEPT)], 'mean/kept');
  const b = make.op('Mul', [fresh, make.scalar(1 - KEPT)], 'mean/fresh');
  make.output(make.op('Add', [a, b], 'mean/new'), [FEATURES]);
  return model;
}

/** (x − mean)·W + b for any batch size. */
function revGraph(): Model {
  const { model, make } = newModel();
  const images = make.input('images', ['N', CHANNELS, SIDE, SIDE]);
  const weight = make.floats([FEATURES, CLASSES], initialWeights(), 'W');
  const bias = make.floats([CLASSES], initialBias(), 'b');
  const mean = make.floats([FEATURES], new Float32Array(FEATURES), 'mean');
  const x = make.op('Flatten', [images], 'x', { axis: int(1) });
  const product = make.op('MatMul', [make.op('Sub', [x, mean], 'centred'), weight], 'product');
  make.output(make.op('Add', [product, bias], 'logits'), ['N', CLASSES]);
  model.metadata.set('revnetify.running_statistics', 'uncalibrated');
  return model;
}

const COMMON_INPUTS: readonly PlanInput[] = [
  { name: 'images', role: 'images', dtype: 'float32', shape: [BATCH, CHANNELS, SIDE, SIDE] },
  { name: 'labels', role: 'labels', dtype: 'int64', shape: [BATCH] },
  { name: 'learning_rate', role: 'learning_rate', dtype: 'float32', shape: [] },
  { name: 'momentum', role: 'momentum', dtype: 'float32', shape: [] },
  { name: 'weight_decay', role: 'weight_decay', dtype: 'float32', shape: [] },
];

function state(name: string, shape: readonly number[]): PlanInput[] {
  const common = { dtype: 'float32', shape, inPlace: true };
  return [
    { name, role: 'weight', next: `${name}/new`, ...common },
    {
      name: `${name}.velocity`,
      role: 'velocity',
      next: `${name}/velocity`,
      weight: name,
      ...common,
    },
  ];
}

function planOf(name: string, inputs: readonly PlanInput[]): Plan {
  const memory = {
    peakBytes: 0,
    allocator: 'pattern' as const,
    graphOptimization: 'all' as const,
    activationBytes: 0,
    peakNode: '',
    byCategory: {},
  };
  return {
    schemaVersion: PLAN_SCHEMA_VERSION,
    model: {
      name,
      rev: `${name}.rev.onnx`,
      train: `${name}.train.onnx`,
      source: `${name}.onnx`,
      parameters: { before: 0, after: 0 },
      depth: { before: 1, after: 1 },
      weightBytes: 0,
    },
    recipe: 'none',
    choices: {
      partition: 'widen',
      match: 'none',
      stem: 'duplicated',
      transitions: 'stored',
      head: 'average',
      batchNorm: 'keep',
      dropout: 'keep',
    },
    passes: 'import',
    assumptions: {
      batch: BATCH,
      imageShape: [CHANNELS, SIDE, SIDE],
      classes: CLASSES,
      dtype: 'float32',
      optimizer: 'sgd',
      nesterov: false,
      clipNorm: 0,
      accumulate: 1,
      labelSmoothing: 0,
      loss: 'cross-entropy',
      classAxis: 1,
      output: null,
      ignoreIndex: null,
      target: 'portable',
      policy: 'store',
      seed: 0,
      opset: 17,
      inputShapes: {},
    },
    notes: [],
    inputs: [...COMMON_INPUTS, ...inputs],
    outputs: { loss: 'loss', correct: 'correct', logits: 'logits', network: 'logits' },
    blocks: [],
    chains: [],
    units: [],
    steps: [],
    buffers: [],
    memory: { plan: memory, coupledStored: memory, originalStored: memory, savedRatio: 0 },
    cost: { forwardFlops: 0, stepFlopsBefore: 0, stepFlopsAfter: 0, ratio: 1 },
    measured: [],
  };
}

function write(dir: string, plan: Plan, train: Model, rev: Model): Plan {
  writeModel(train, join(dir, plan.model.train));
  writeModel(rev, join(dir, plan.model.rev));
  writeFileSync(join(dir, `${plan.model.name}.plan.json`), JSON.stringify(plan));
  return plan;
}

/** Writes the linear classifier's files. */
export function writeTinyStep(dir: string): Plan {
  const plan = planOf('tiny', [
    ...state('W', [FEATURES, CLASSES]),
    ...state('b', [CLASSES]),
    {
      name: 'mean',
      role: 'statistic',
      dtype: 'float32',
      shape: [FEATURES],
      next: 'mean/new',
      inPlace: true,
    },
  ]);
  return write(dir, plan, trainGraph(), revGraph());
}

/** Writes a step that holds one intermediate of so many bytes, and little else. */
export function writeLargeStep(dir: string, bytes: number): Plan {
  const { model, make } = newModel();
  const { images } = commonInputs(make);
  const one = make.op('ReduceMean', [images], 'one', { keepdims: int(0) });
  const large = make.op('Expand', [one, make.indices([bytes / 4])], 'large');
  const loss = make.op('ReduceMean', [large], 'loss', { keepdims: int(0) });
  make.output(loss, []);
  make.output(make.op('Elu', [loss], 'correct', { alpha: float(1) }), []);
  return write(dir, planOf('large', []), model, revGraph());
}

/** A batch that depends on its number alone. */
export function batchOf(number: number): Batch {
  const length = BATCH * FEATURES;
  return {
    images: Float32Array.from({ length }, (_, i) => Math.sin(number * 31.7 + i * 0.37) * 1.5),
    labels: BigInt64Array.from({ length: BATCH }, (_, i) => BigInt((number + i * i) % CLASSES)),
  };
}

/** The losses of the same training, worked out in float64. */
export function referenceLosses(
  batches: readonly Batch[],
  { learningRate, momentum, weightDecay }: Sgd,
): { losses: number[]; correct: number[]; weights: number[]; mean: number[] } {
  const weights = [...initialWeights()];
  const bias = [...initialBias()];
  const weightVelocity = weights.map(() => 0);
  const biasVelocity = bias.map(() => 0);
  const mean = new Array<number>(FEATURES).fill(0);
  const at = (values: ArrayLike<number>, index: number): number => values[index] ?? NaN;
  const correct: number[] = [];
  const losses = batches.map(({ images, labels }) => {
    const weightGradient = weights.map((w) => weightDecay * w);
    const biasGradient = bias.map(() => 0);
    const sums = mean.map(() => 0);
    let loss = 0;
    let hits = 0;
    for (let n = 0; n < BATCH; n++) {
      const x = images.subarray(n * FEATURES, (n + 1) * FEATURES);
      const scores = bias.map((b, c) =>
        x.reduce((sum, value, f) => sum + value * at(weights, f * CLASSES + c), b),
      );
      const total = scores.reduce((sum, s) => sum + Math.exp(s), 0);
      const label = Number(labels[n]);
      if (scores.indexOf(Math.max(...scores)) === label) hits++;
      loss += (Math.log(total) - at(scores, label)) / BATCH;
      scores.forEach((score, c) => {
        const d = (Math.exp(score) / total - (c === label ? 1 : 0)) / BATCH;
        biasGradient[c] = at(biasGradient, c) + d;
        x.forEach((value, f) => {
          const i = f * CLASSES + c;
          weightGradient[i] = at(weightGradient, i) + value * d;
        });
      });
      x.forEach((value, f) => (sums[f] = at(sums, f) + value / BATCH));
    }
    const update = (values: number[], velocity: number[], gradient: number[]): void =>
      values.forEach((value, i) => {
        velocity[i] = momentum * at(velocity, i) + at(gradient, i);
        values[i] = value - learningRate * at(velocity, i);
      });
    update(weights, weightVelocity, weightGradient);
    update(bias, biasVelocity, biasGradient);
    mean.forEach((value, f) => (mean[f] = KEPT * value + (1 - KEPT) * at(sums, f)));
    correct.push(hits);
    return loss;
  });
  return { losses, correct, weights, mean };
}
