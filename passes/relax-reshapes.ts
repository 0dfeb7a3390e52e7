// Pass relax-reshapes: targets of Reshape do not spell the batch size. In: a lowered step.
// Out: the same shapes, written with 0 (keep) and -1 (the rest). Invariant: every shape stays what it was.
//
// What units read from each other carries a symbol for the batch size (autodiff/views.ts); a target in plain numbers would end it,
// and ONNX Runtime 1.30 fails on a Reshape with a computed target before one with a constant target (its fusion
// of neighbouring Reshapes).

import { InlineData, Tensor, isStatic } from '../src/ir/index.js';
import type { Graph, Node, Value } from '../src/ir/index.js';
import { definePass } from './state.js';

function relax(dims: readonly number[], from: readonly number[]): number[] {
  if (dims.length > 0 && dims[0] === from[0]) return [0, ...dims.slice(1)];
  const largest = dims.indexOf(Math.max(...dims));
  return dims.map((d, i) => (i === largest ? -1 : d));
}

/** Of Reshapes in a row the last one says it all: with the symbol gone half-way it would be a target in plain numbers. */
function skipInner(node: Node): void {
  for (;;) {
    const inner = node.input(0).producer;
    if (inner?.op !== 'Reshape' || inner.domain !== '' || !inner.input(1).constant) return;
    if (!isStatic(node.output().shape) || !isStatic(inner.input(0).shape)) return;
    // A channel vector is told by its rank (rule S1 of schedule/verify-order.ts), and too small to be viewed.
    if ((inner.output().shape?.length ?? 0) <= 1) return;
    node.setInput(0, inner.input(0));
  }
}

export const relaxReshapes = definePass({
  name: 'relax-reshapes',
  summary: 'write Reshape targets without the batch size',
  run: ({ model: { graph } }) => {
    const targets = new Map<string, Value>();
    for (const node of [...graph.nodes]) {
      if (node.op !== 'Reshape' || node.domain !== '') continue;
      if (node.input(1).constant) skipInner(node);
      const [data, target] = [node.input(0), node.input(1)];
      const spelled = target.constant?.load().toArray();
      const { shape } = node.output();
      // A Reshape of a Reshape that is gone: a 0 or −1 was meant for that one's result.
      const dims = spelled && isStatic(shape) ? shape : spelled;
      if (!dims || dims.includes(-1) || dims.includes(0) || !isStatic(data.shape)) continue;
      node.setInput(1, shared(graph, targets, relax(dims, data.shape)));
    }
    graph.removeDead();
    graph.sort();
  },
});

function shared(graph: Graph, targets: Map<string, Value>, dims: readonly number[]): Value {
  const key = dims.join(',');
  const known = targets.get(key);
  if (known) return known;
  const made = graph.addConstant(`shape[${key}]`, new InlineData(Tensor.ints(dims)));
  targets.set(key, made);
  return made;
}
