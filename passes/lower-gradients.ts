// Pass lower-gradients: abstract steps → ai.onnx operators of the target. Invariant: afterwards no node of our
// own domain is left.

import { DiagnosticError } from '../src/diagnostics/index.js';
import { applyLowering, findLowering } from '../src/lowering/index.js';
import { Builder, REVNETIFY } from '../src/ops/index.js';
import { definePass } from './state.js';

export const lowerGradients = definePass({
  name: 'lower-gradients',
  summary: "replace the compiler's own gradient steps by standard operators of the target",
  run: ({ model: { graph }, settings: { target } }) => {
    const root = new Builder(graph, { phase: 'forward', path: '' });
    for (const node of [...graph.nodes]) {
      const rule = findLowering(node, target);
      if (rule) applyLowering(graph, node, rule, root);
      else if (node.domain === REVNETIFY)
        throw new DiagnosticError(
          'op/no-lowering',
          `node ${node.name}`,
          `${node.op} on target ${target}`,
        );
    }
    graph.removeDead();
    graph.sort();
  },
});
