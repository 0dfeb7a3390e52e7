// Steps whose inside can be seen. In: a built step. Out: the same with gradients, streams and logits among its
// outputs, and the operands to run it with. Invariant: exposing a value changes what is kept, not what is computed.

import type { CompileState } from '../../passes/index.js';
import { tableSize } from '../analysis/index.js';
import { invariant } from '../diagnostics/index.js';
import { Tensor, elementCount, isStatic } from '../ir/index.js';
import type { ConstantData, Model, Value } from '../ir/index.js';
import { Random } from '../ops/index.js';

export interface Probe {
  readonly model: Model;
  readonly logits: Value;
  readonly loss: Value;
  /** Weight name → gradient. */
  readonly gradients: ReadonlyMap<string, Value>;
  /** Streams: the forward value and its reconstruction. */
  readonly streams: readonly {
    readonly name: string;
    readonly forward: Value;
    readonly rebuilt: Value;
  }[];
}

export function exposeStep(state: CompileState): Probe {
  const { graph } = state.model;
  const { step, loss } = state;
  invariant(step && loss, 'only a differentiated step can be probed');
  const gradients = new Map<string, Value>();
  for (const { weight } of step.updates) {
    const gradient = step.backward.gradients.get(weight);
    invariant(gradient?.producer, `the gradient of ${weight.name} is gone`);
    gradients.set(weight.name, gradient);
  }
  const streams = [...step.backward.reconstructed].map(([forward, rebuilt]) => ({
    name: forward.name,
    forward,
    rebuilt,
  }));
  const exposed = new Set([
    loss.loss,
    loss.logits,
    ...gradients.values(),
    ...streams.flatMap((s) => [s.forward, s.rebuilt]),
  ]);
  const kept = graph.outputs.filter((v) => !exposed.has(v));
  graph.outputs.splice(0, graph.outputs.length, ...exposed, ...kept);
  return { model: state.model, logits: loss.logits, loss: loss.loss, gradients, streams };
}

/** The seed that a check draws masks from. */
export const drawSeed = (seed: number): readonly number[] => [seed | 0, 1];

/** Numbers from 0 up to, not including, a limit. */
const integers = (random: Random, shape: readonly number[], limit: number): Tensor =>
  Tensor.of(
    'int64',
    shape,
    Array.from({ length: elementCount(shape) }, () => random.integer(0, limit - 1)),
  );

/** Floats are drawn, numbers that are looked up too; any other number or truth value is 1, as in a mask that hides nothing. */
function sideFeed(random: Random, side: Value, shape: readonly number[]): Tensor {
  const dtype = side.type?.dtype ?? 'float32';
  if (dtype === 'float32') return random.tensor(shape);
  const limit = tableSize(side);
  if (limit !== undefined && dtype === 'int64') return integers(random, shape, limit);
  return Tensor.of(dtype, shape, new Array<number>(elementCount(shape)).fill(1));
}

/** Operands of a step: seeded images and labels, weights by name from `weights`, everything else zero. */
export function stepFeeds(
  state: CompileState,
  weights: ReadonlyMap<string, ConstantData>,
  seed: number,
): Map<Value, Tensor> {
  const { loss } = state;
  invariant(loss, 'only a step with a loss can be fed');
  const random = new Random(seed);
  const feeds = new Map<Value, Tensor>();
  for (const input of state.model.graph.inputs) {
    invariant(isStatic(input.shape), `${input.name} has no static shape`);
    const { shape } = input;
    if (input === loss.images && input.type?.dtype === 'int64')
      feeds.set(input, integers(random, shape, tableSize(input) ?? 1));
    else if (input === loss.images) feeds.set(input, random.tensor(shape));
    else if (loss.sides.includes(input)) feeds.set(input, sideFeed(random, input, shape));
    else if (input === state.seed) feeds.set(input, Tensor.of('int32', shape, drawSeed(seed)));
    else if (input === loss.labels && loss.kind === 'mse') feeds.set(input, random.tensor(shape));
    else if (input === loss.labels) feeds.set(input, integers(random, shape, loss.classes));
    else
      feeds.set(
        input,
        weights.get(input.name)?.load() ?? Tensor.zeros(input.type?.dtype ?? 'float32', shape),
      );
  }
  return feeds;
}

/** The initializers of a model by name. */
export function constantsByName(model: Model): Map<string, ConstantData> {
  const constants = new Map<string, ConstantData>();
  for (const value of model.graph.constants)
    if (value.constant) constants.set(value.name, value.constant);
  return constants;
}
