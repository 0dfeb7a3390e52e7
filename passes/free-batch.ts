// Pass free-batch: an export with a fixed batch size accepts any. In: a graph whose first input dimension is a
// number. Out: the symbol N there, and no constant Reshape target that spells the old batch size. Invariant:
// the graph still computes the same for the batch size it was exported with.

import { inferTypes } from '../src/analysis/index.js';
import { InlineData, Tensor } from '../src/ir/index.js';
import type { Graph, Value } from '../src/ir/index.js';
import { definePass } from './state.js';

const BATCH = 'N';

/** The inputs that carry a batch: those that are not weights and have at least one dimension. */
export const dataInputs = (graph: Graph): Value[] => graph.inputs.filter((v) => !v.constant);

function freeReshapes(graph: Graph, batch: number): void {
  for (const node of [...graph.nodes]) {
    if (node.domain !== '' || (node.op !== 'Reshape' && node.op !== 'Expand')) continue;
    const [data, shape] = node.inputs;
    const target = shape?.constant?.load().toArray();
    if (!data || !shape || target?.[0] !== batch || target.length < 2) continue;
    const leads = data.shape?.[0] === batch;
    let first: number | undefined;
    if (node.op === 'Expand') first = leads ? 1 : undefined;
    else if (leads && node.attributes.int('allowzero', 0) === 0) first = 0;
    else if (!target.includes(-1)) first = -1;
    if (first === undefined) continue;
    const freed = new InlineData(Tensor.ints([first, ...target.slice(1)]));
    node.setInput(1, graph.addConstant(`${shape.name}.free`, freed));
  }
}

export const freeBatch = definePass({
  name: 'free-batch',
  summary: 'replace the fixed batch size of an export by a symbol',
  run: ({ model: { graph }, notes }) => {
    const [first] = dataInputs(graph);
    const batch = first?.shape?.[0];
    if (typeof batch !== 'number') return;
    freeReshapes(graph, batch);
    for (const input of dataInputs(graph)) {
      const { type } = input;
      if (!type?.shape || type.shape[0] !== batch) continue;
      input.type = { dtype: type.dtype, shape: [BATCH, ...type.shape.slice(1)] };
      input.source = undefined;
    }
    for (const node of graph.nodes)
      for (const value of node.outputs) if (value) value.type = undefined;
    graph.removeDead();
    inferTypes(graph);
    notes.push(`the model was exported for batch ${batch}; its batch size is now free`);
  },
});
