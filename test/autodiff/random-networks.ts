// Networks that drop at random while they are trained, made of the fixtures. In: a fixture. Out: the same with Dropout
// nodes, or with stochastic depth as torchvision's training export spells it out.

import { preResNet } from '../../fixtures/models.js';
import { inferTypes } from '../../src/analysis/index.js';
import { Tensor, int, tensor, InlineData } from '../../src/ir/index.js';
import type { Graph, Model, Value } from '../../src/ir/index.js';
import { Builder } from '../../src/ops/index.js';

export type Kind = 'in the block' | 'at its end' | 'stochastic depth' | 'head';

const constant = (b: Builder, value: number): Value => b.constant(Tensor.scalar(value));

/** One number per sample, below `keep` or not, as bernoulli_(keep).div_(keep) is exported. */
function samplesKept(b: Builder, x: Value, keep: number): Value {
  const first = b.op('Gather', [b.op('Shape', [x]), b.constant(Tensor.scalar(0, 'int64'))], {
    attributes: { axis: int(0) },
  });
  const lead = b.op('Unsqueeze', [first, b.ints(0)]);
  const shape = b.op('Concat', [lead, b.ints(1), b.ints(1), b.ints(1)], {
    attributes: { axis: int(0) },
  });
  const zero = tensor(new InlineData(Tensor.of('float32', [1], [0])));
  const like = b.op('ConstantOfShape', [shape], { attributes: { value: zero } });
  const uniform = b.op('RandomUniformLike', [like]);
  const below = b.op('Less', [uniform, constant(b, keep)]);
  const kept = b.op('Cast', [below], { attributes: { to: int(1) } });
  return b.op('Div', [kept, constant(b, keep)]);
}

/** Puts `make(x)` between a value and its readers. */
function insert(graph: Graph, x: Value, make: (b: Builder) => Value): void {
  const b = new Builder(graph, { phase: 'forward', path: `drop/${x.name}` });
  const before = new Set(graph.nodes);
  const dropped = make(b);
  graph.replaceUses(x, dropped, (use) => before.has(use.node));
  graph.sort();
}

export function dropping(kinds: readonly Kind[], image = 16): Model {
  const model = preResNet({ depth: 20, width: 2, image, classes: 3, seed: 1, norm: 'random' });
  const { graph } = model;
  inferTypes(graph);
  const dropout = (b: Builder, x: Value, ratio: number): Value =>
    b.op('Dropout', [x, constant(b, ratio), b.constant(Tensor.scalar(1, 'bool'))]);
  for (const add of [...graph.nodes].filter((n) => n.op === 'Add')) {
    const end = add.inputs.find((v) => v?.producer?.op === 'Conv' && v.producer.inputs.length > 1);
    const conv = end?.producer;
    if (!end || !conv) continue;
    if (kinds.includes('in the block'))
      insert(graph, conv.input(0), (b) => dropout(b, conv.input(0), 0.3));
    if (kinds.includes('at its end')) insert(graph, end, (b) => dropout(b, end, 0.25));
    if (kinds.includes('stochastic depth'))
      insert(graph, end, (b) => b.op('Mul', [end, samplesKept(b, end, 0.6)]));
  }
  const gemm = [...graph.nodes].find((n) => n.op === 'Gemm');
  if (kinds.includes('head') && gemm)
    insert(graph, gemm.input(0), (b) => dropout(b, gemm.input(0), 0.5));
  return model;
}
