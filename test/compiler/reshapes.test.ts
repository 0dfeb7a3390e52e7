// Reshapes in a row in the step, which ONNX Runtime 1.30 cannot fuse behind a computed target unless the compiler writes them
// as one: grey images behind a strided convolution.

import { expect, test } from 'vitest';
import { compile } from '../../src/compiler/index.js';
import { InlineData, Model, ints } from '../../src/ir/index.js';
import type { AttributeMap, Value } from '../../src/ir/index.js';
import { Random } from '../../src/ops/index.js';
import { verifyModel } from '../../src/verify/index.js';

function network(): Model {
  const model = new Model();
  model.opsets.set('', 17);
  const { graph } = model;
  const random = new Random(4);
  const node = (op: string, inputs: Value[], attributes: AttributeMap): Value =>
    graph.addNode({ op, inputs, outputs: [`${op}${graph.nodes.size}`], attributes }).output();
  const conv = (x: Value, dims: readonly number[], stride: number, pad: number): Value => {
    const filter = graph.addConstant(
      `filter${graph.nodes.size}`,
      new InlineData(random.tensor(dims, 0.1)),
    );
    return node('Conv', [x, filter], {
      kernel_shape: ints(dims.slice(2)),
      strides: ints([stride, stride]),
      pads: ints([pad, pad, pad, pad]),
    });
  };
  const images = graph.addInput('images', { dtype: 'float32', shape: ['N', 1, 200, 200] });
  const x = conv(images, [14, 1, 8, 8], 4, 0);
  const inner = node('Relu', [conv(x, [14, 14, 3, 3], 1, 1)], {});
  const branch = node('Relu', [conv(inner, [14, 14, 3, 3], 1, 1)], {});
  const sum = node('Add', [x, branch], {});
  const window = { kernel_shape: ints([4, 4]), strides: ints([4, 4]) };
  graph.outputs.push(node('MaxPool', [sum], window));
  return model;
}

test('the step runs in ONNX Runtime and agrees in two lowerings', async () => {
  const { rev, state } = compile(network(), {
    name: 'grey',
    source: 'grey.onnx',
    recipe: 'none',
    batchNorm: 'keep',
    batch: 2,
  });
  const { failures } = await verifyModel(rev, state.chains, state.settings);
  expect(failures).toEqual([]);
});
