// Pass write-out-einsum: every Einsum as the matrix product it stands for. In: any graph. Out: MatMul, Mul and
// ReduceSum between Transposes and Reshapes instead, which have types, gradients and channels. Invariant: results keep
// their names.

import { inferTypes } from '../src/analysis/index.js';
import { DiagnosticError } from '../src/diagnostics/index.js';
import type { Dim, Graph, Node, Value } from '../src/ir/index.js';
import { Builder, inferNode } from '../src/ops/index.js';
import type { Contents } from '../src/ops/index.js';
import { writeOutEinsum } from '../src/rewrite/einsum.js';
import { definePass } from './state.js';

const isEinsum = (node: Node): boolean => node.op === 'Einsum' && node.domain === '';

function replace(graph: Graph, node: Node, root: Builder): void {
  const b = root.within({
    path: node.name || 'einsum',
    ...(node.origin === undefined ? {} : { origin: node.origin }),
  });
  const result = writeOutEinsum(node, b);
  const own = node.inputs.includes(result) ? b.op('Identity', [result]) : result;
  graph.adopt(node.output(), own);
  graph.removeNode(node);
}

export const writeOutEinsumPass = definePass({
  name: 'write-out-einsum',
  summary: 'write every Einsum as the matrix product it stands for',
  run: ({ model: { graph } }) => {
    if (![...graph.nodes].some(isEinsum)) return;
    const root = new Builder(graph, { phase: 'forward', path: 'einsum' });
    const contents: Contents = new WeakMap<Value, readonly Dim[]>();
    graph.sort();
    // In order, so that each is written out with its operands typed.
    for (const node of [...graph.nodes])
      if (isEinsum(node)) replace(graph, node, root);
      else
        try {
          inferNode(node, contents);
        } catch (error) {
          // What stays unknown is reported by infer-types, with the whole graph.
          if (!(error instanceof DiagnosticError) || error.code === 'shape/mismatch') throw error;
        }
    graph.sort();
    inferTypes(graph);
  },
});
