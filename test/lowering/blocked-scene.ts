// Small graphs that are laid out in blocks. In: nodes, and what their inputs are fed. Out: a failed expectation where that changes
// a value: in float64 for both block sizes, in ONNX Runtime for the one of this CPU. Invariant: what is compared is plain.

import { expect } from 'vitest';
import { probeBlock } from '../../runtime/device/index.js';
import { Model, NCHWC, Tensor, int } from '../../src/ir/index.js';
import type { Graph, Node, Value } from '../../src/ir/index.js';
import { Builder, REVNETIFY, Random, WORKING_OPSET, interpret } from '../../src/ops/index.js';
import type { Scope } from '../../src/ops/index.js';
import { assertValid } from '../../src/ir/verify.js';
import { Layout } from '../../src/lowering/index.js';
import { difference, runOrt } from '../ops/support.js';

const probed = await probeBlock();

interface Options {
  readonly plain?: readonly Value[];
  /** Unit and the token it waits for. */
  readonly waits?: readonly (readonly [string, Value])[];
}

/** A graph under construction, and what its inputs are fed. */
export class Scene {
  readonly model = new Model();
  readonly graph: Graph = this.model.graph;
  readonly feeds = new Map<Value, Tensor>();
  readonly b = new Builder(this.graph, { phase: 'forward', path: 't' });
  private readonly random = new Random(17);

  constructor() {
    this.model.opsets.set('', WORKING_OPSET);
  }

  feed(tensor: Tensor): Value {
    const value = this.graph.addInput('in', { dtype: tensor.dtype, shape: tensor.dims });
    this.feeds.set(value, tensor);
    return value;
  }

  input(...dims: number[]): Value {
    return this.feed(this.random.tensor(dims));
  }

  /** A 1x1 convolution, whose result is in blocks. */
  conv(x: Value, filters: number, scope: Partial<Scope> = {}): Value {
    const w = this.input(filters, Number(x.shape?.[1]), 1, 1);
    return this.b.within(scope).op('Conv', [x, w], { name: 'conv' });
  }

  /** The same elements in blocks: times 1, as a depthwise convolution. */
  blocked(x: Value): Value {
    const channels = Number(x.shape?.[1]);
    const ones = this.feed(
      Tensor.of('float32', [channels, 1, 1, 1], new Array<number>(channels).fill(1)),
    );
    return this.b.op('Conv', [x, ones], { attributes: { group: int(channels) } });
  }

  /** Lets something read a value that has no use for blocks. */
  show(...values: readonly (Value | undefined)[]): void {
    for (const value of values) if (value) this.graph.outputs.push(this.b.op('Flatten', [value]));
  }

  /** Lays it out; the outputs stay what they were. */
  async rearrange(block: number, options: Options = {}): Promise<Layout> {
    const before = this.values();
    const layout = this.layOut(block, options);
    await this.expectValues(before, block, 1e-5);
    return layout;
  }

  layOut(block: number, options: Options = {}): Layout {
    const { graph, model, b } = this;
    const layout = new Layout(graph, b, {
      block,
      plain: new Set([...graph.outputs, ...(options.plain ?? [])]),
      waits: new Map(options.waits ?? []),
    });
    for (const node of [...graph.nodes]) layout.visit(node);
    graph.removeDead();
    graph.sort();
    model.opsets.set(NCHWC, 1);
    assertValid(model);
    return layout;
  }

  values(): Tensor[] {
    const results = interpret(this.graph, this.feeds);
    return this.graph.outputs.map((value) => results.get(value) ?? expect.fail());
  }

  /** The outputs are these, in the interpreter and in ONNX Runtime where it can run the step: in blocks of this size. */
  async expectValues(wanted: readonly Tensor[], block: number, limit: number): Promise<void> {
    const check = (got: readonly (Tensor | undefined)[], most: number): void => {
      expect(got.length).toBe(wanted.length);
      wanted.forEach((want, i) => {
        expect(got[i]?.size).toBe(want.size);
        expect(difference(got[i] ?? expect.fail(), want)).toBeLessThan(most);
      });
    };
    check(this.values(), 1e-11);
    if (block === probed && this.own().length === 0)
      check(await runOrt(this.model, this.feeds), limit);
  }

  nodes(op: string, domain = ''): Node[] {
    return [...this.graph.nodes].filter((node) => node.op === op && node.domain === domain);
  }

  /** Nodes of our own domain. */
  own(): Node[] {
    return [...this.graph.nodes].filter((node) => node.domain === REVNETIFY);
  }

  count(op: string): number {
    return this.nodes(op, NCHWC).length;
  }
}
