// Small typed graphs written by hand, for the tests of the analysis.

import { InlineData, Model, Tensor, int, ints } from '../../src/ir/index.js';
import type { AttributeMap, Shape, Value } from '../../src/ir/index.js';
import { findResidualBlocks, findRuns, inferTypes } from '../../src/analysis/index.js';
import type { ResidualBlock } from '../../src/analysis/index.js';
import { WORKING_OPSET } from '../../src/ops/index.js';

export class Net {
  readonly model = new Model();
  private count = 0;

  constructor() {
    this.model.opsets.set('', WORKING_OPSET);
  }

  input(shape: Shape = ['N', 4, 8, 8], name = 'input'): Value {
    return this.model.graph.addInput(name, { dtype: 'float32', shape });
  }

  constant(dims: readonly number[], value = 0.5): Value {
    const tensor = Tensor.zeros('float32', dims);
    tensor.data.fill(value);
    return this.model.graph.addConstant(`c${this.count++}`, new InlineData(tensor));
  }

  int64(...values: number[]): Value {
    return this.model.graph.addConstant(`i${this.count++}`, new InlineData(Tensor.ints(values)));
  }

  op(type: string, inputs: readonly Value[], attributes: AttributeMap = {}): Value {
    const output = `${type}${this.count++}`;
    return this.model.graph.addNode({ op: type, inputs, outputs: [output], attributes }).output();
  }

  conv(x: Value, from = 4, to = from, stride = 1): Value {
    const pad = { pads: ints([1, 1, 1, 1]), kernel_shape: ints([3, 3]) };
    return this.op('Conv', [x, this.constant([to, from, 3, 3])], {
      ...pad,
      strides: ints([stride, stride]),
    });
  }

  relu(x: Value): Value {
    return this.op('Relu', [x]);
  }

  batchNorm(x: Value, channels = 4): Value {
    const vectors = [1, 0, 0, 1].map((v) => this.constant([channels], v));
    return this.op('BatchNormalization', [x, ...vectors]);
  }

  add(a: Value, b: Value): Value {
    return this.op('Add', [a, b]);
  }

  /** x + conv(x). */
  block(x: Value, channels = 4): Value {
    return this.add(x, this.conv(x, channels));
  }

  flatten(x: Value): Value {
    return this.op('Flatten', [x], { axis: int(1) });
  }

  /** Ends the graph and finds its blocks. */
  blocks(...outputs: Value[]): ResidualBlock[] {
    const { graph } = this.model;
    graph.outputs.push(...outputs);
    graph.sort();
    inferTypes(graph);
    return findResidualBlocks(graph);
  }

  /** Lengths of the runs its blocks form. */
  runs(...outputs: Value[]): number[] {
    const blocks = this.blocks(...outputs);
    return findRuns(this.model.graph, blocks).map((run) => run.length);
  }
}
