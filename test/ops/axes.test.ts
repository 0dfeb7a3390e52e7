// What the allOps say of their axes is true: change every linked extent of a sample at once, and inference still
// accepts the node and gives exactly the extents the links foretell.

import { describe, expect, test } from 'vitest';
import { Graph, InlineData, Tensor } from '../../src/ir/index.js';
import type { Node, Value } from '../../src/ir/index.js';
import { Builder, Random, allOps, axisLinks, findOp, inferNode } from '../../src/ops/index.js';
import type { AxisLink, OpDefinition, OpSample } from '../../src/ops/index.js';

function nodeOf(definition: OpDefinition, sample: OpSample): { graph: Graph; node: Node } {
  const graph = new Graph();
  const inputs = sample.inputs.map((tensor, index): Value | undefined => {
    if (!tensor) return undefined;
    if (sample.constants?.includes(index) ?? false)
      return graph.addConstant(`c${index}`, new InlineData(tensor));
    return graph.addInput(`x${index}`, { dtype: tensor.dtype, shape: tensor.dims });
  });
  const node = graph.addNode({
    op: definition.type,
    domain: definition.domain ?? '',
    inputs,
    outputs: Array.from({ length: sample.outputs ?? 1 }, (_, i) => `y${i}`),
    ...(sample.attributes ? { attributes: sample.attributes } : {}),
  });
  inferNode(node);
  return { graph, node };
}

/** Doubles the extents of one link, as the compiler does: types, then what repeats them. */
function double(graph: Graph, node: Node, { axes }: AxisLink): void {
  for (const { side, index, axis } of axes) {
    const value = side === 'in' ? node.inputs[index] : node.outputs[index];
    if (!value?.type?.shape) continue;
    const shape = value.type.shape.map((d, i) => (i === axis ? 2 * Number(d) : d));
    value.type = { dtype: value.type.dtype, shape };
    if (value.constant)
      value.constant = new InlineData(Tensor.zeros(value.constant.dtype, shape as number[]));
  }
  findOp(node)?.resized?.(node, new Builder(graph, { phase: 'forward', path: 'resized' }));
}

const CASES = allOps()
  .filter((definition) => 'axes' in definition && definition.samples !== undefined)
  .flatMap((definition) =>
    (definition.samples?.(new Random(1)) ?? []).map((sample) => ({ definition, sample })),
  )
  .filter(({ sample }) => !sample.inputs.some((t) => t?.dims.includes(0)));

describe.each(CASES.map((c) => ({ ...c, name: `${c.definition.type}: ${c.sample.label}` })))(
  '$name',
  ({ definition, sample }) => {
    test('every link can be doubled', () => {
      const { node } = nodeOf(definition, sample);
      const count = axisLinks(node)?.length ?? 0;
      for (let i = 0; i < count; i++) {
        const { graph, node: changed } = nodeOf(definition, sample);
        const link = axisLinks(changed)?.[i];
        if (!link) throw new Error('no link');
        double(graph, changed, link);
        const foretold = changed.outputs.map((v) => v?.shape);
        inferNode(changed);
        expect(changed.outputs.map((v) => v?.shape)).toEqual(foretold);
      }
    });
  },
);
