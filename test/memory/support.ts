// Small graphs whose memory can be worked out by hand. In: a recipe of nodes. Out: the graph, simulated. Invariant:
// tensors are float32; [4,1000] is 16,000 bytes.

import { Graph, int } from '../../src/ir/index.js';
import type { Value } from '../../src/ir/index.js';
import { simulate } from '../../src/memory/index.js';
import type { Execution } from '../../src/memory/index.js';
import { Builder } from '../../src/ops/index.js';

export class Sketch {
  readonly graph = new Graph();
  readonly b = new Builder(this.graph, { phase: 'forward', path: 'test' });

  input(name: string, ...shape: number[]): Value {
    return this.graph.addInput(name, { dtype: 'float32', shape });
  }

  op(name: string, type: string, ...inputs: Value[]): Value {
    return this.b.op(type, inputs, { name });
  }

  /** Everything added up: [1,1]. */
  sum(name: string, value: Value): Value {
    return this.b.op('ReduceSum', [value], { name, attributes: { keepdims: int(1) } });
  }

  /** The same memory with `symbol` for the batch size, as autodiff/views.ts states it. */
  view(name: string, value: Value, target: Value, symbol: string): Value {
    const view = this.b.op('Reshape', [value, target], { name });
    view.type = value.type;
    const [, ...rest] = value.shape ?? [];
    view.stated = { dtype: 'float32', shape: [symbol, ...rest] };
    return view;
  }

  run(...outputs: Value[]): Execution {
    this.graph.outputs.push(...outputs);
    return simulate(
      this.graph,
      new Set([...this.graph.inputs, ...this.graph.constants, ...this.graph.outputs]),
    );
  }
}

const lastPart = (name: string): string => name.split('/').at(-1) ?? name;

/** "a+b 0..3": the values of each buffer of at least `bytes`, from its first to its last node. */
export const lifetimes = ({ buffers }: Execution, bytes = 1000): string[] =>
  buffers
    .filter((buffer) => buffer.bytes >= bytes)
    .map(
      ({ values, first, last }) =>
        `${values.map((v) => lastPart(v.name)).join('+')} ${first}..${last}`,
    );

export const names = ({ order }: Execution): string[] => order.map((node) => lastPart(node.name));
