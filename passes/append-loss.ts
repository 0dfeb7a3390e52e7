// Pass append-loss: the network ends in a scalar to minimise. In: a network with static shapes. Out: labels (or targets)
// as an input, the mean loss over them, and the share of correct answers times the batch size. Invariant: cross-entropy
// sees logits, their classes along axis 1; a final Softmax, which the loss contains, is dropped.

import { tableSize } from '../src/analysis/index.js';
import { DiagnosticError, invariant } from '../src/diagnostics/index.js';
import { Tensor, elementCount, formatType, int, ints, isStatic, string } from '../src/ir/index.js';
import type { Graph, Value } from '../src/ir/index.js';
import { Builder, elementCode } from '../src/ops/index.js';
import { dataInputs } from './free-batch.js';
import { definePass } from './state.js';
import type { CompileState, LossKind, Settings } from './state.js';

const toFloat = { to: int(elementCode('float32')) };
const scalar = { keepdims: int(0) };

// ---- which output, which loss

interface Ending {
  readonly output: Value;
  readonly shape: readonly number[];
  readonly kind: LossKind;
}

function staticFloat({ type }: Value): readonly number[] | undefined {
  return type?.dtype === 'float32' && isStatic(type.shape) ? type.shape : undefined;
}

/** Whether a dense output is a picture like the input (super-resolution, denoising) and no map of scores. */
function isPicture(shape: readonly number[], images: Value): boolean {
  const image = images.shape ?? [];
  return shape.length === 4 && image.length === 4 && image[1] === shape[1];
}

/** The loss that suits an output: by what it looks like. */
function usualLoss(shape: readonly number[], images: Value): LossKind | undefined {
  const [, classes = 0, ...rest] = shape;
  if (shape.length < 2 || elementCount(shape) === 0) return undefined;
  if (rest.every((d) => d === 1)) return classes >= 2 ? 'cross-entropy' : undefined;
  return isPicture(shape, images) ? 'mse' : 'cross-entropy';
}

const listed = (graph: Graph): string =>
  graph.outputs.map((v) => `${v.name}: ${formatType(v.type)}`).join('; ');

function chooseOutput({ model: { graph }, settings }: CompileState, images: Value): Ending {
  const { output: name, loss } = settings;
  if (name !== undefined && !graph.outputs.some((v) => v.name === name))
    throw new DiagnosticError(
      'usage/option',
      '--train-output',
      `the model's outputs are ${listed(graph)}`,
    );
  for (const output of graph.outputs) {
    if (name !== undefined && output.name !== name) continue;
    const shape = staticFloat(output);
    const kind = shape && (loss ?? usualLoss(shape, images));
    if (
      !shape ||
      !kind ||
      (kind === 'cross-entropy' && (shape.length < 2 || (classesOf(shape) ?? 0) < 2))
    )
      continue;
    return { output, shape, kind };
  }
  throw new DiagnosticError('model/no-logits', 'outputs of the model', listed(graph));
}

/** Where the classes are: of token models ([N,T,C]) last, else along axis 1. */
const classAxis = (shape: readonly number[]): number =>
  shape.length === 3 && shape[2] !== 1 ? 2 : 1;
const classesOf = (shape: readonly number[]): number | undefined => shape[classAxis(shape)];

function explain(state: CompileState, { output, shape, kind }: Ending): void {
  const { graph } = state.model;
  const { settings, notes } = state;
  const others = graph.outputs.filter((v) => v !== output).map((v) => v.name);
  if (others.length > 0 && settings.output === undefined)
    notes.push(
      `trained for output ${output.name}; ${others.join(', ')} ${others.length > 1 ? 'do' : 'does'} not count (--train-output chooses)`,
    );
  const plain = kind === 'cross-entropy' && shape.slice(2).every((d) => d === 1);
  if (settings.loss !== undefined || plain) return;
  const what =
    kind === 'mse'
      ? 'mean squared error of the whole output'
      : `cross-entropy of ${classesOf(shape) ?? 0} classes along axis ${classAxis(shape)}, one label per ${shape.length === 3 ? 'token' : 'pixel'}`;
  notes.push(`the output is ${formatType(output.type)}: ${what} (--loss chooses)`);
}

// ---- the losses

interface Ended {
  readonly logits: Value;
  readonly labels: Value;
  readonly loss: Value;
  readonly correct: Value;
  readonly classes: number;
}

/** Mean of (y − t)², as torch's MSELoss. There are no correct answers to count: the number stays 0. */
function squaredError({ output, shape }: Ending, graph: Graph, b: Builder): Ended {
  const labels = graph.addInput('labels', { dtype: 'float32', shape });
  const off = b.op('Sub', [output, labels], { name: 'off' });
  const loss = b.op('ReduceMean', [b.op('Mul', [off, off], { name: 'squares' })], {
    attributes: scalar,
    name: 'loss',
  });
  const correct = b.op('Mul', [loss, b.scalar(0)], { name: 'correct' });
  return { logits: output, labels, loss, correct, classes: 0 };
}

/** The output without a final Softmax, classes along axis 1, the rest as few axes as there can be. */
function logitsOf({ output, shape }: Ending, b: Builder): Value {
  const last = output.producer;
  const isSoftmax = last?.domain === '' && (last.op === 'Softmax' || last.op === 'LogSoftmax');
  const scores = isSoftmax ? last.input(0) : output;
  if (shape.length > 2 && shape.slice(2).every((d) => d === 1))
    return b.op('Flatten', [scores], { attributes: { axis: int(1) }, name: 'logits' });
  if (classAxis(shape) === 1) return scores;
  return b.op('Transpose', [scores], { attributes: { perm: ints([0, 2, 1]) }, name: 'logits' });
}

/** (1 − ε)·nll + ε·(mean over all classes of −log p), as torch's CrossEntropyLoss(label_smoothing=ε). */
function smooth(nll: Value, spread: Value, share: number, b: Builder): Value {
  const hard = b.op('Mul', [nll, b.scalar(1 - share)], { name: 'hardShare' });
  return b.op('Sub', [hard, b.op('Mul', [spread, b.scalar(share)], { name: 'softShare' })], {
    name: 'loss',
  });
}

function crossEntropy(ending: Ending, graph: Graph, settings: Settings, b: Builder): Ended {
  const { labelSmoothing, ignoreIndex } = settings;
  const logits = logitsOf(ending, b);
  const shape = logits.shape as readonly number[];
  const dims = shape.filter((_, axis) => axis !== 1);
  const classes = shape[1] ?? 0;
  const labels = graph.addInput('labels', { dtype: 'int64', shape: dims });
  const own = narrow(labels, classes, settings, b);
  const ignored = ignoreIndex === undefined ? undefined : ignore(own, ignoreIndex, b);
  const [nll, logs] = b.node('SoftmaxCrossEntropyLoss', [logits, ignored?.labels ?? own], {
    attributes: { reduction: string(ignored ? 'none' : 'mean') },
    outputs: 2,
    name: labelSmoothing > 0 || ignored ? 'hard' : 'loss',
  }).outputs;
  invariant(nll && logs, 'a loss has two outputs');
  let loss = nll;
  if (labelSmoothing > 0) {
    const attributes = ignored ? { ...scalar, axes: ints([1]) } : scalar;
    const spread = b.op('ReduceMean', [logs], { attributes, name: 'spread' });
    loss = smooth(nll, spread, labelSmoothing, b);
  }
  if (ignored) {
    const sum = b.op('ReduceSum', [b.op('Mul', [loss, ignored.counts], { name: 'counted' })], {
      attributes: scalar,
      name: 'sum',
    });
    loss = b.op('Div', [sum, ignored.count], { name: 'loss' });
  }
  return {
    logits,
    labels,
    loss,
    correct: countCorrect(logits, own, ignored, settings, b),
    classes,
  };
}

/** Beyond this an index to be ignored is no row of a table. */
const MOST_ROWS = 2 ** 16;

/**
 * Labels in a type that the target compares. WebGPU neither compares nor converts integers of 64 bits, but it looks
 * rows up by them.
 */
function narrow(
  labels: Value,
  classes: number,
  { target, ignoreIndex: index = 0 }: Pick<Settings, 'target' | 'ignoreIndex'>,
  b: Builder,
): Value {
  if (target === 'cpu' || Math.abs(index) > MOST_ROWS) return labels;
  // A label below 0, which only the one to be ignored can be, is looked up from the end of the table.
  const rows = index < 0 ? classes - index : Math.max(classes, index + 1);
  const table = Array.from({ length: rows }, (_, i) => (i < classes ? i : index));
  const numbers = b.constant(Tensor.of('int32', [rows], table), 'numbers');
  return b.op('Gather', [numbers, labels], { attributes: { axis: int(0) }, name: 'narrow' });
}

interface Ignored {
  /** The labels, with 0 for those that do not count. */
  readonly labels: Value;
  /** 1 where a label counts, else 0. */
  readonly counts: Value;
  /** How many do; at least 1. */
  readonly count: Value;
}

function ignore(labels: Value, index: number, b: Builder): Ignored {
  const toInt = { to: int(elementCode('int32')) };
  const own =
    labels.type?.dtype === 'int32'
      ? labels
      : b.op('Cast', [labels], { attributes: toInt, name: 'own' });
  const low = b.op('Equal', [own, intScalar(b, index)], { name: 'ignored' });
  const flag = b.op('Cast', [low], { attributes: { to: int(elementCode('int32')) }, name: 'flag' });
  const counted = b.op('Sub', [intScalar(b, 1), flag], { name: 'counted' });
  const counts = b.op('Cast', [counted], { attributes: toFloat, name: 'counts' });
  const sum = b.op('ReduceSum', [counts], { attributes: scalar, name: 'number' });
  const count = b.op('Max', [sum, b.scalar(1)], { name: 'count' });
  const wide = b.op('Mul', [own, counted], { name: 'kept' });
  return { labels: wide, counts, count };
}

const intScalar = (b: Builder, value: number): Value => b.constant(Tensor.scalar(value, 'int32'));

/** Correct answers in samples: of the labels that count, the share that is met, times the batch size. */
function countCorrect(
  logits: Value,
  labels: Value,
  ignored: Ignored | undefined,
  { target }: Pick<Settings, 'target'>,
  b: Builder,
): Value {
  const [batch = 1, classes = 0, ...positions] = logits.shape as readonly number[];
  const highest = b.op('ArgMax', [logits], {
    attributes: { axis: int(1), keepdims: int(0) },
    name: 'best',
  });
  const best =
    labels.type?.dtype === 'int32'
      ? narrow(highest, classes, { target, ignoreIndex: undefined }, b)
      : highest;
  const hit = b.op('Equal', [best, labels], { name: 'hit' });
  const met = b.op('Cast', [hit], { attributes: toFloat, name: 'hits' });
  // A label that does not count may be one of the classes.
  const hits = ignored ? b.op('Mul', [met, ignored.counts], { name: 'countedHits' }) : met;
  if (!ignored && positions.length === 0)
    return b.op('ReduceSum', [hits], { attributes: scalar, name: 'correct' });
  const sum = b.op('ReduceSum', [hits], { attributes: scalar, name: 'number' });
  if (!ignored)
    return b.op('Mul', [sum, b.scalar(1 / elementCount(positions))], { name: 'correct' });
  const share = b.op('Div', [sum, ignored.count], { name: 'share' });
  return b.op('Mul', [share, b.scalar(batch)], { name: 'correct' });
}

/** Options that only cross-entropy has. */
function checkOptions({ labelSmoothing, ignoreIndex }: Settings): void {
  const refuse = (option: string): never => {
    throw new DiagnosticError(
      'usage/option',
      option,
      'a mean squared error has no classes',
      'leave it out',
    );
  };
  if (labelSmoothing > 0) refuse('--label-smoothing');
  if (ignoreIndex !== undefined) refuse('--ignore-index');
}

/** The input that carries the data: numbers looked up in the largest table, or else the first floats. */
function carrier(inputs: readonly Value[]): Value | undefined {
  const rows = (input: Value): number => tableSize(input) ?? 0;
  const ids = inputs.filter((input) => input.type?.dtype === 'int64' && rows(input) > 0);
  const [largest] = ids.sort((a, b) => rows(b) - rows(a));
  return largest ?? inputs.find((input) => input.type?.dtype === 'float32') ?? inputs[0];
}

export const appendLoss = definePass({
  name: 'append-loss',
  summary: 'append the loss and the count of correct answers',
  run: (state) => {
    const { graph } = state.model;
    const { settings } = state;
    const inputs = dataInputs(graph);
    const images = carrier(inputs);
    if (!images)
      throw new DiagnosticError('model/invalid', 'inputs of the model', 'there is none to feed');
    const sides = inputs.filter((input) => input !== images);
    const ending = chooseOutput(state, images);
    explain(state, ending);
    const b = new Builder(graph, { phase: 'forward', path: 'loss' });
    if (ending.kind === 'mse') checkOptions(settings);
    const ended =
      ending.kind === 'mse'
        ? squaredError(ending, graph, b)
        : crossEntropy(ending, graph, settings, b);
    graph.outputs.splice(0, graph.outputs.length, ended.loss, ended.correct);
    graph.removeDead();
    const { kind, output, shape } = ending;
    const axis = kind === 'mse' ? undefined : classAxis(shape);
    state.loss = { images, sides, kind, output: output.name, classAxis: axis, ...ended };
  },
});
