// From gradients to new weights. In: weights with their gradients, the optimizer, what is done to gradients first. Out:
// update nodes; new weights and state as graph outputs; scalars the caller feeds. Invariant: a new weight depends, by
// data, on everything that reads the old one, so that a runtime may write it into the same memory.
//
// Accumulation needs no second graph and no branch: the caller turns a step into one that only adds up its gradients
// by the scalars it feeds (learning rate 0, momentum 1, gain 0; see runtime/optimizer.ts).

import { int, sameShape } from '../ir/index.js';
import type { Graph, Value } from '../ir/index.js';
import type { Builder } from '../ops/index.js';
import { adamw } from './adamw.js';
import { sgd } from './sgd.js';

export type OptimizerName = 'sgd' | 'adamw';

/** Scalar inputs of a step; each optimizer takes some of them. */
export type ScalarRole =
  | 'learning_rate'
  | 'weight_decay'
  | 'momentum'
  | 'beta1'
  | 'beta2'
  /** 1 − beta1 and 1 − beta2: in float32 the difference would have lost its last digits. */
  | 'beta1_rest'
  | 'beta2_rest'
  | 'epsilon'
  /** 1 / (1 − beta1^t) and 1 / √(1 − beta2^t) at update t. */
  | 'bias1'
  | 'bias2'
  /** Accumulation: factor of the sum so far (0 begins a new one), and of the sum in the update. */
  | 'carry'
  | 'gain';

/** Tensors beside each weight that go from step to step. */
export type StateRole = 'velocity' | 'moment1' | 'moment2' | 'gradient_sum';

export interface StateUpdate {
  readonly role: StateRole;
  readonly old: Value;
  readonly next: Value;
}

export interface WeightUpdate {
  readonly weight: Value;
  readonly newWeight: Value;
  readonly states: readonly StateUpdate[];
}

export interface UpdateContext {
  readonly weight: Value;
  readonly gradient: Value;
  /** In the order of Optimizer.states. */
  readonly states: readonly Value[];
  /** Whether weight decay applies: to weights proper, not to biases and batch norm. */
  readonly decays: boolean;
  /** The learning rate, once every reader of the old weight has run. */
  readonly rate: Value;
  readonly scalar: (role: ScalarRole) => Value;
  readonly b: Builder;
}

export interface Optimizer {
  readonly scalars: readonly ScalarRole[];
  readonly states: readonly StateRole[];
  /** New weight, then new states. */
  update(context: UpdateContext): { weight: Value; states: readonly Value[] };
}

export interface UpdateOptions {
  readonly optimizer: OptimizerName;
  readonly nesterov: boolean;
  /** Largest norm of all gradients together; 0: any. */
  readonly clipNorm: number;
  /** Batches whose gradients are added up before an update. */
  readonly accumulate: number;
}

const optimizerOf = ({ optimizer, nesterov }: UpdateOptions): Optimizer =>
  optimizer === 'adamw' ? adamw : sgd(nesterov);

/** Adds the scalar inputs of an optimizer. */
export function addScalars(graph: Graph, options: UpdateOptions): Map<ScalarRole, Value> {
  const roles: ScalarRole[] = [...optimizerOf(options).scalars];
  if (options.accumulate > 1) roles.push('carry', 'gain');
  return new Map(
    roles.map((role) => [role, graph.addInput(role, { dtype: 'float32', shape: [] })]),
  );
}

export interface Trained {
  readonly weight: Value;
  readonly gradient: Value;
  /** Token that proves every reader of the old weight has run. */
  readonly released: Value | undefined;
}

/**
 * Scalars as an update reads them. Where the last extent of a tensor is 1, as in 1×1 filters, ONNX Runtime combines it with
 * a scalar element by element, forty times slower than with a tensor of the same rank.
 */
class Scalars {
  private readonly raised = new Map<Value, Map<number, Value>>();

  /** `scalar`, to be combined with `tensor`. */
  beside({ shape = [] }: Value, scalar: Value, b: Builder): Value {
    const rank = shape.length;
    if (rank < 2 || shape[rank - 1] !== 1) return scalar;
    const known = this.raised.get(scalar) ?? new Map<number, Value>();
    this.raised.set(scalar, known);
    let value = known.get(rank);
    if (!value) {
      value = b.op('Reshape', [scalar, b.ints(...shape.map(() => 1))], { name: 'scalar' });
      known.set(rank, value);
    }
    return value;
  }
}

/**
 * Appends the updates; weights become inputs of the graph.
 * @param done token of the whole backward pass
 */
export function appendUpdates(
  graph: Graph,
  trained: readonly Trained[],
  done: Value | undefined,
  scalars: ReadonlyMap<ScalarRole, Value>,
  options: UpdateOptions,
  root: Builder,
): WeightUpdate[] {
  const optimizer = optimizerOf(options);
  const scalar = (role: ScalarRole): Value => {
    const value = scalars.get(role);
    if (!value) throw new Error(`internal error: the step has no input ${role}`);
    return value;
  };
  const own = (weight: Value, gradient: Value): Builder =>
    root.within({
      phase: 'update',
      path: `update/${weight.name}`,
      origin: weight.name,
      unit: gradient.producer?.unit ?? 'update',
    });
  const stateOf = (weight: Value, role: StateRole): Value =>
    graph.addInput(`${weight.name}.${role}`, { dtype: 'float32', shape: weight.shape ?? [] });

  const scalarsOf = new Scalars();
  const sums = new Map<Value, StateUpdate>();
  for (const { weight, gradient } of trained) {
    if (!sameShape(weight.shape, gradient.shape))
      throw new Error(
        `internal error: gradient of ${weight.name} has shape [${String(gradient.shape)}], not [${String(weight.shape)}]`,
      );
    graph.constantToInput(weight);
    if (options.accumulate === 1) continue;
    const b = own(weight, gradient);
    const old = stateOf(weight, 'gradient_sum');
    const kept = b.op('Mul', [old, scalarsOf.beside(old, scalar('carry'), b)], { name: 'carried' });
    const next = b.op('Add', [kept, gradient], { name: 'sum' });
    sums.set(weight, { role: 'gradient_sum', old, next });
  }
  const whole = (t: Trained): Value => sums.get(t.weight)?.next ?? t.gradient;
  const gain = options.accumulate > 1 ? scalar('gain') : undefined;
  const factor =
    options.clipNorm > 0
      ? clipFactor(trained.map(whole), done, gain, options.clipNorm, root)
      : gain;

  const rates = new Map<Value, Value>();
  const rateAfter = (released: Value, b: Builder): Value => {
    const known = rates.get(released);
    if (known) return known;
    const rate = b.op('Add', [scalar('learning_rate'), released], { name: 'rate' });
    rates.set(released, rate);
    return rate;
  };
  return trained.map((t): WeightUpdate => {
    const { weight, gradient, released } = t;
    const b = own(weight, gradient);
    const states = optimizer.states.map((role) => stateOf(weight, role));
    const beside = (value: Value): Value => scalarsOf.beside(weight, value, b);
    const result = optimizer.update({
      weight,
      gradient: factor ? b.op('Mul', [whole(t), beside(factor)], { name: 'scaled' }) : gradient,
      states,
      decays: (weight.shape ?? []).length >= 2,
      rate: beside(released ? rateAfter(released, b) : scalar('learning_rate')),
      scalar: (role) => beside(scalar(role)),
      b,
    });
    const sum = sums.get(weight);
    const updates = optimizer.states.flatMap((role, i): StateUpdate[] => {
      const [old, next] = [states[i], result.states[i]];
      return old && next ? [{ role, old, next }] : [];
    });
    if (sum) updates.push(sum);
    graph.outputs.push(result.weight, ...updates.map((u) => u.next));
    return { weight, newWeight: result.weight, states: updates };
  });
}

/** As torch.nn.utils.clip_grad_norm_ has it. */
const SAFE = 1e-6;

/** min(1, limit / (norm + 1e-6)) of all gradients together, times the gain they are to be taken with. */
function clipFactor(
  gradients: readonly Value[],
  done: Value | undefined,
  gain: Value | undefined,
  limit: number,
  root: Builder,
): Value {
  const b = root.within({ phase: 'update', path: 'update/clip', unit: 'clip' });
  const squares = gradients.map((g) => {
    const sum = b.op('ReduceSumSquare', [g], { name: 'squares' });
    // Of rank 1 whatever the rank of the gradient was.
    return b.op('Reshape', [sum, b.ints(1)], { name: 'square' });
  });
  // Made last, so that an executor visits it first (see token.ts) and goes through the units in their order: from a
  // gradient it would come into the middle of one. The token is 0.
  if (done) squares.push(b.op('Reshape', [done, b.ints(1)], { name: 'done' }));
  const joined = b.op('Concat', squares, { attributes: { axis: int(0) }, name: 'all' });
  const total = b.op('ReduceSum', [joined], { attributes: { keepdims: int(0) }, name: 'total' });
  const root2 = b.op('Sqrt', [total], { name: 'root' });
  const norm = gain ? b.op('Mul', [root2, gain], { name: 'norm' }) : root2;
  const ratio = b.op('Div', [b.scalar(limit), b.op('Add', [norm, b.scalar(SAFE)])], {
    name: 'ratio',
  });
  const factor = b.op('Min', [ratio, b.scalar(1)], { name: 'factor' });
  return gain ? b.op('Mul', [factor, gain], { name: 'scale' }) : factor;
}
