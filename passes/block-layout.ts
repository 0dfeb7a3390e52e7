// Pass block-layout: convolutions, batch norms and what lies between them in ONNX Runtime's blocked layout. In: a step,
// differentiated, on a CPU whose block size the settings name. Out: the same step on kernels of com.microsoft.nchwc where
// there are any. Invariant: inputs and results of the step stay plain; nothing is computed that was not before.

import { NCHWC } from '../src/ir/index.js';
import { invariant } from '../src/diagnostics/index.js';
import { Layout } from '../src/lowering/index.js';
import { Builder } from '../src/ops/index.js';
import { definePass } from './state.js';

export const blockLayout = definePass({
  name: 'block-layout',
  summary: "compute in ONNX Runtime's blocked layout (only with a block size)",
  run: (state) => {
    const { model, settings, step, loss } = state;
    const { graph } = model;
    if (settings.block === undefined || settings.target !== 'cpu') return;
    invariant(step && loss, 'block-layout needs differentiate before it');
    graph.sort();
    const root = new Builder(graph, { phase: 'forward', path: '' });
    const layout = new Layout(graph, root, {
      block: settings.block,
      plain: new Set([...graph.outputs, loss.logits]),
      waits: settings.token ? step.backward.waits : new Map(),
    });
    for (const node of [...graph.nodes]) layout.visit(node);
    graph.removeDead();
    graph.sort();
    if ([...graph.nodes].some(({ domain }) => domain === NCHWC)) model.opsets.set(NCHWC, 1);
    state.blocked = layout.blocked;
  },
});
