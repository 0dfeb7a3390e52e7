// Pass unify-dropout: all that a network does at random while it is trained, in one form. In: Dropout nodes of any mode,
// and dropout or stochastic depth that a training export spelled out (random numbers compared with a probability). Out:
// Dropout nodes in inference form, with a constant ratio above 0. Invariant: in inference form the network computes what
// its exporter's does in evaluation mode.
//
// Stochastic depth drops whole samples: it becomes the product with a Dropout of ones, one per sample, which any executor
// of rev.onnx takes for a product with 1.

import { DiagnosticError } from '../src/diagnostics/index.js';
import { InlineData, Tensor, tensor } from '../src/ir/index.js';
import type { Graph, Node, Value } from '../src/ir/index.js';
import { Builder, RANDOM_SOURCES } from '../src/ops/index.js';
import { definePass } from './state.js';

/** Of the operand that is left out. */
const DEFAULT_RATIO = 0.5;
/** Relative distance of two numbers that an exporter rounded differently. */
const ROUNDING = 1e-5;

const scalarOf = (value: Value | undefined): number | undefined => {
  const { constant, producer } = value ?? {};
  if (producer?.op === 'ConstantOfShape')
    return producer.attributes.tensor('value')?.load().data[0] ?? 0;
  const data = constant?.load().data;
  return data?.every((x) => x === data[0]) ? data[0] : undefined;
};

const readerOf = (value: Value): Node | undefined =>
  value.uses.length === 1 && value.uses[0]?.index !== undefined && value.uses[0].index >= 0
    ? value.uses[0].node
    : undefined;

// ---- Dropout nodes

function unifyNode(graph: Graph, node: Node, remove: boolean): void {
  const refuse = (why: string): never => {
    throw new DiagnosticError('op/unsupported', `node ${node.name} (Dropout)`, why);
  };
  const [x, ratio] = node.inputs;
  const mask = node.outputs[1];
  if (mask && (mask.isUsed || graph.outputs.includes(mask))) refuse('its mask is read');
  const share = ratio ? scalarOf(ratio) : DEFAULT_RATIO;
  if (share === undefined) return refuse(`its ratio ${ratio?.name ?? ''} is not constant`);
  if ((remove || share === 0) && x) {
    graph.replaceValue(node.output(), x);
    graph.removeNode(node);
    return;
  }
  if (node.inputs.length > 2) node.truncateInputs(2);
  node.outputs.splice(1);
  node.source = undefined;
}

// ---- spelled out

interface Kept {
  /** 1 where something is kept, with probability `keep`, and 0 elsewhere. */
  readonly value: Value;
  readonly keep: number;
}

const COMPARISONS: Readonly<Record<string, 'below' | 'above'>> = {
  Less: 'below',
  LessOrEqual: 'below',
  Greater: 'above',
  GreaterOrEqual: 'above',
};

/** What a source of random numbers decides, if it decides with one probability for all elements. */
function decision(source: Node): Kept | undefined {
  if (source.op === 'Bernoulli') {
    const keep = scalarOf(source.input(0));
    return keep === undefined ? undefined : { value: source.output(), keep };
  }
  const { attributes } = source;
  if (!source.op.startsWith('RandomUniform')) return undefined;
  if (attributes.float('low', 0) !== 0 || attributes.float('high', 1) !== 1) return undefined;
  const reader = readerOf(source.output());
  if (!reader || reader.domain !== '' || reader.inputs.length !== 2) return undefined;
  const own = reader.inputs.indexOf(source.output());
  const limit = scalarOf(reader.inputs[1 - own]);
  const next = readerOf(reader.output());
  if (limit === undefined || !next) return undefined;
  // keep + u is at least 1 with probability keep.
  if (reader.op === 'Add' && next.op === 'Floor') return { value: next.output(), keep: limit };
  const side = COMPARISONS[reader.op];
  if (!side || next.op !== 'Cast') return undefined;
  const isBelow = (side === 'below') === (own === 0);
  return { value: next.output(), keep: isBelow ? limit : 1 - limit };
}

/** The product that what is decided goes into, perhaps by way of a division: X · kept · factor. */
function application(kept: Kept): { product: Node; x: Value; factor: number } | undefined {
  let { value } = kept;
  let factor = 1;
  let reader = readerOf(value);
  const other = scalarOf(reader?.inputs[1 - (reader.inputs.indexOf(value) || 0)]);
  if (
    reader &&
    other !== undefined &&
    (reader.op === 'Mul' || (reader.op === 'Div' && reader.inputs[0] === value))
  ) {
    factor = reader.op === 'Mul' ? other : 1 / other;
    value = reader.output();
    reader = readerOf(value);
  }
  if (reader?.op !== 'Mul' || reader.domain !== '') return undefined;
  const x = reader.input(1 - reader.inputs.indexOf(value));
  return { product: reader, x, factor };
}

/** Ones: per axis as many as x has, or a single one. */
function onesLike(b: Builder, x: Value, spread: readonly boolean[]): Value {
  const own = b.ints(...spread.map(Number));
  const single = b.ints(...spread.map((s) => Number(!s)));
  const shape = b.op('Add', [b.op('Mul', [b.op('Shape', [x]), own]), single], { name: 'draws' });
  const value = tensor(new InlineData(Tensor.of('float32', [1], [1])));
  return b.op('ConstantOfShape', [shape], { attributes: { value }, name: 'ones' });
}

/** Whether it could be put in the common form. */
function unifySource(graph: Graph, source: Node, remove: boolean): boolean {
  const kept = decision(source);
  const applied = kept && application(kept);
  if (!kept || !applied || !(kept.keep > 0 && kept.keep <= 1)) return false;
  const { product, x, factor } = applied;
  const [drawn, full] = [source.output().shape, x.shape];
  if (!drawn || !full || drawn.length > full.length) return false;
  const b = new Builder(graph, { phase: 'forward', path: product.name || product.output().name });
  const lead = full.length - drawn.length;
  // Exported for a batch of one, an axis of one stands for the samples.
  const spread = full.map((d, i) => (i >= lead && drawn[i - lead] !== 1) || (i === 0 && d === 1));
  const ratio = b.constant(Tensor.scalar(1 - kept.keep));
  const dropout = (operand: Value): Value =>
    remove || kept.keep === 1 ? operand : b.op('Dropout', [operand, ratio], { name: 'dropout' });
  const everywhere = spread.every((s, i) => s || full[i] === 1);
  let result: Value;
  if (everywhere || remove) result = dropout(x);
  else result = b.op('Mul', [x, dropout(onesLike(b, x, spread))], { name: 'product' });
  // The mean of what is decided is `keep`: together with the factor usually 1.
  const mean = factor * kept.keep;
  if (Math.abs(mean - 1) > ROUNDING)
    result = b.op('Mul', [result, b.scalar(mean)], { name: 'scaled' });
  if (result === x) graph.replaceValue(product.output(), x);
  else graph.adopt(product.output(), result);
  graph.removeNode(product);
  return true;
}

export const unifyDropout = definePass({
  name: 'unify-dropout',
  summary: 'bring dropout and stochastic depth into one form, inactive outside training',
  settings: ['dropout'],
  run: ({ model: { graph }, settings, notes }) => {
    const remove = settings.dropout === 'remove';
    let spelledOut = 0;
    for (const node of [...graph.nodes]) {
      if (node.domain !== '' || !graph.has(node)) continue;
      if (node.op === 'Dropout') unifyNode(graph, node, remove);
      else if (RANDOM_SOURCES.has(node.op) && unifySource(graph, node, remove)) spelledOut++;
    }
    graph.removeDead();
    graph.sort();
    const active = [...graph.nodes].filter((n) => n.op === 'Dropout' && n.domain === '').length;
    if (active > 0)
      notes.push(
        `${active} places drop at random in training${spelledOut > 0 ? ` (${spelledOut} of them as the export spelled them out)` : ''}; --dropout remove trains without`,
      );
  },
});
