// A step in blocks against the same step in plain operators. In: single nodes, and small graphs around a convolution. Out:
// a failed expectation where a rule is not used, is used where it does not apply, or changes a value: in float64 for both
// block sizes, in ONNX Runtime for the one of this CPU. Invariant: what a test reads of a graph is plain.

import { describe, expect, test } from 'vitest';
import { probeBlock } from '../../runtime/device/index.js';
import {
  Attributes,
  BLOCK_SIZES,
  Model,
  NCHWC,
  Tensor,
  float,
  int,
  ints,
} from '../../src/ir/index.js';
import type { Attribute, Graph, Node, Value } from '../../src/ir/index.js';
import { assertValid } from '../../src/ir/verify.js';
import { Layout } from '../../src/lowering/index.js';
import { channelData, channelStatistics } from '../../src/ops/channels.js';
import { caseGeometry } from '../../src/ops/conv-cases.js';
import type { ConvCase } from '../../src/ops/conv-cases.js';
import { gradAttributes } from '../../src/ops/conv-gradient.js';
import {
  Builder,
  REVNETIFY,
  Random,
  WORKING_OPSET,
  evaluateNode,
  interpret,
} from '../../src/ops/index.js';
import type { Scope } from '../../src/ops/index.js';
import { checkTokens } from '../../src/schedule/index.js';
import { difference, runOrt } from '../ops/support.js';

const probed = await probeBlock();

test('ONNX Runtime here works in blocks', () => expect(BLOCK_SIZES).toContain(probed));

interface Options {
  readonly plain?: readonly Value[];
  /** Unit and the token it waits for. */
  readonly waits?: readonly (readonly [string, Value])[];
}

/** A graph under construction, and what its inputs are fed. */
class Scene {
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

// ---- rules

interface Case {
  readonly label: string;
  /** As Builder.node() writes it. */
  readonly type: string;
  readonly inputs: readonly Tensor[];
  readonly attributes?: Readonly<Record<string, Attribute>> | Attributes;
  readonly outputs?: number;
  /** Results that are read; default all. */
  readonly read?: readonly number[];
  /** Maps come in blocks: rules that follow would not apply to plain ones. */
  readonly follows?: boolean;
  readonly limit?: number;
}

function single(c: Case): { scene: Scene; node: Node; expected: Tensor[] } {
  const scene = new Scene();
  const operands = c.inputs.map((tensor) => {
    const value = scene.feed(tensor);
    return c.follows && tensor.dims.length === 4 ? scene.blocked(value) : value;
  });
  const { attributes = {}, outputs = 1 } = c;
  const node = scene.b.node(c.type, operands, { attributes, outputs });
  const results = evaluateNode(node, c.inputs);
  const read = c.read ?? node.outputs.map((_, i) => i);
  scene.show(...read.map((i) => node.output(i)));
  return { scene, node, expected: read.map((i) => results[i] ?? expect.fail()) };
}

type ConvKind = 'Conv' | 'ConvGradInput' | 'ConvGradWeight';

function conv(kind: ConvKind, c: ConvCase, bias = false): Case {
  const g = caseGeometry(c);
  const random = new Random(c.label.length);
  const [x, w, dY] = [c.x, c.w, [g.batch, g.outChannels, ...g.output]].map((d) => random.tensor(d));
  if (!x || !w || !dY) throw new Error('three tensors');
  const { label } = c;
  if (kind === 'Conv') {
    const { strides, dilations, group, begin, end } = g;
    const pads = ints([...begin, ...end]);
    const windows = { strides: ints(strides), dilations: ints(dilations), pads, group: int(group) };
    const inputs = bias ? [x, w, random.tensor([g.outChannels])] : [x, w];
    return { label: `Conv: ${label}`, type: kind, inputs, attributes: windows };
  }
  const isInput = kind === 'ConvGradInput';
  const attributes = gradAttributes(kind, g, g.group, isInput ? c.x : c.w);
  const inputs = [isInput ? w : x, dY];
  return { label: `${kind}: ${label}`, type: `revnetify.${kind}`, inputs, attributes };
}

/** Two spatial axes alike. */
const both = (n: number): number[] => [n, n];
const around = (n: number): number[] => [n, n, n, n];

const convCases = (B: number): Case[] => [
  ...[
    { label: '3x3', x: [2, B, 5, 6], w: [2 * B, B, 3, 3], pads: around(1) },
    { label: '1x1', x: [2, 3 * B, 3, 5], w: [B, 3 * B, 1, 1] },
    { label: 'stride 2', x: [1, B, 7, 6], w: [B, B, 3, 3], strides: both(2), pads: around(1) },
    { label: 'dilation 2', x: [1, B, 8, 7], w: [B, B, 3, 3], dilations: both(2), pads: around(2) },
    { label: 'asymmetric pads', x: [2, 2 * B, 5, 5], w: [B, 2 * B, 3, 2], pads: [0, 1, 2, 0] },
    { label: 'depthwise', x: [2, 2 * B, 6, 5], w: [2 * B, 1, 3, 3], group: 2 * B, pads: around(1) },
  ].flatMap((c) => [conv('Conv', c), conv('Conv', { ...c, label: `${c.label}, bias` }, true)]),
  ...[
    { label: '3x3', x: [2, 2 * B, 5, 6], w: [3 * B, 2 * B, 3, 3], pads: around(1) },
    { label: '1x1', x: [2, 3 * B, 3, 5], w: [B, 3 * B, 1, 1] },
    { label: 'no pads', x: [1, B, 5, 6], w: [2 * B, B, 3, 3] },
    { label: 'asymmetric pads', x: [2, 2 * B, 5, 5], w: [B, 2 * B, 3, 2], pads: [0, 1, 2, 0] },
    { label: 'dilation 2', x: [1, B, 8, 7], w: [B, B, 3, 3], dilations: both(2), pads: around(2) },
  ].map((c) => conv('ConvGradInput', c)),
  ...[
    { label: '3x3', x: [B, B, 4, 5], w: [B, B, 3, 3], pads: around(1) },
    { label: 'two blocks of images', x: [2 * B, B, 3, 4], w: [B, B, 3, 3], pads: around(1) },
    { label: 'blocks of all', x: [2 * B, 2 * B, 3, 3], w: [3 * B, 2 * B, 2, 3], pads: around(1) },
    { label: 'stride 2', x: [B, B, 6, 5], w: [2 * B, B, 3, 3], strides: both(2), pads: around(1) },
    { label: 'stride 2 by 1', x: [B, B, 6, 5], w: [B, B, 3, 3], strides: [2, 1], pads: around(1) },
    { label: '1x1', x: [B, 2 * B, 3, 4], w: [B, 2 * B, 1, 1] },
    { label: '1x1, blocks of all', x: [2 * B, 2 * B, 3, 2], w: [3 * B, 2 * B, 1, 1] },
    { label: '1x1 with pads', x: [B, B, 3, 3], w: [B, B, 1, 1], pads: around(1) },
    { label: '1x1, stride 2, odd', x: [B, B, 5, 3], w: [2 * B, B, 1, 1], strides: [2, 1] },
    { label: '1x1 that stops short', x: [B, B, 6, 4], w: [2 * B, B, 1, 1], strides: both(2) },
    { label: '3x3 that stops short', x: [B, B, 6, 8], w: [B, B, 3, 3], strides: both(2) },
    { label: 'asymmetric pads', x: [B, B, 5, 4], w: [B, B, 3, 2], pads: [0, 1, 2, 0] },
  ].map((c) => conv('ConvGradWeight', c)),
];

function normCases(B: number, offset: number): Case[] {
  const [random, dims, channels] = [new Random(4), [2, 2 * B, 4, 3], 2 * B];
  const x = channelData(random, dims, offset);
  const { mean, variance } = channelStatistics(x);
  const statistics = [mean, variance].map((v) =>
    Tensor.of('float32', [channels], v.map(Math.fround)),
  );
  const [gamma, beta] = [random.tensor([channels]), random.tensor([channels])];
  // Mostly of one sign, so that its sum times an error of the mean is large.
  const grad = {
    type: 'BatchNormGrad',
    inputs: [x, random.tensor(dims, 1, 1), gamma, ...statistics],
  };
  return [
    { type: 'BatchNormTrain', inputs: [x, gamma, beta], outputs: 3 },
    { type: 'BatchNormApply', inputs: [x, gamma, beta, ...statistics] },
    { ...grad, outputs: 3 },
    { ...grad, outputs: 3, read: [1, 2] },
  ].map((c) => ({
    ...c,
    label: `${c.type}, mean of ${offset} deviations${'read' in c ? ', no dX' : ''}`,
    type: `revnetify.${c.type}`,
    attributes: { epsilon: float(1e-3) },
    follows: true,
    // X itself is spaced 50 · 2^-24 = 3e-6 deviations apart at 50 deviations.
    limit: offset > 3 ? 3e-5 : 1e-5,
  }));
}

const pool = (B: number, follows: boolean): Case => {
  const inputs = [new Random(6).tensor([3, 2 * B, 3, 5])];
  return { label: 'GlobalAveragePool', type: 'GlobalAveragePool', inputs, follows };
};

describe.each(BLOCK_SIZES)('in blocks of %d', (B) => {
  const cases = [...convCases(B), ...normCases(B, 0.5), ...normCases(B, 50), pool(B, true)];

  test.each(cases.map((c) => [c.label, c] as const))('%s', async (_, c) => {
    const { scene, node, expected } = single(c);
    const result = node.output();
    const layout = scene.layOut(B);
    expect(layout.blocked.has(result)).toBe(!/ConvGradWeight|GlobalAveragePool/.test(c.type));
    const kernel = c.type === 'GlobalAveragePool' ? c.type : 'Conv';
    expect(scene.nodes(kernel, NCHWC)).not.toEqual([]);
    expect(scene.nodes(kernel)).toEqual([]);
    expect(scene.own()).toEqual([]);
    await scene.expectValues(expected, B, c.limit ?? 1e-5);
  });

  const half = B / 2;
  const odd = B + half;
  const stays: Case[] = [
    ...[
      { label: 'groups', x: [2, 2 * B, 4, 4], w: [2 * B, B, 3, 3], group: 2 },
      { label: 'two per channel', x: [2, B, 4, 4], w: [2 * B, 1, 3, 3], group: B },
      { label: 'depthwise, no whole blocks', x: [2, odd, 4, 4], w: [odd, 1, 3, 3], group: odd },
      { label: 'no whole blocks in', x: [2, odd, 4, 4], w: [B, odd, 3, 3] },
      { label: 'no whole blocks out', x: [2, B, 4, 4], w: [odd, B, 3, 3] },
      { label: '3 channels', x: [2, 3, 4, 4], w: [B, 3, 3, 3] },
      { label: 'one spatial axis', x: [2, B, 4], w: [B, B, 3] },
    ].map((c) => conv('Conv', c)),
    ...[
      { label: 'stride 2', x: [2, B, 5, 5], w: [B, B, 3, 3], strides: both(2), pads: around(1) },
      { label: 'stride 1 by 2', x: [2, B, 5, 5], w: [B, B, 3, 3], strides: [1, 2] },
      { label: 'pads beyond the kernel', x: [2, B, 3, 3], w: [B, B, 1, 1], pads: around(1) },
      { label: '3 channels', x: [2, 3, 4, 4], w: [B, 3, 3, 3] },
      { label: 'no whole blocks out', x: [2, B, 4, 4], w: [odd, B, 3, 3] },
      { label: 'depthwise', x: [2, B, 4, 4], w: [B, 1, 3, 3], group: B },
    ].map((c) => conv('ConvGradInput', c)),
    ...[
      { label: 'no whole block of images', x: [half, B, 3, 3], w: [B, B, 1, 1] },
      { label: 'one image too many', x: [B + 1, B, 3, 3], w: [B, B, 1, 1] },
      { label: 'no whole blocks in', x: [B, odd, 3, 3], w: [B, odd, 1, 1] },
      { label: 'no whole blocks out', x: [B, B, 3, 3], w: [odd, B, 1, 1] },
      { label: 'dilation 2', x: [B, B, 5, 5], w: [B, B, 2, 2], dilations: both(2) },
      { label: 'depthwise', x: [B, B, 3, 3], w: [B, 1, 1, 1], group: B },
    ].map((c) => conv('ConvGradWeight', c)),
    ...[...normCases(B, 1), pool(B, true)].map((c) => ({ ...c, follows: false })),
  ];

  test.each(stays.map((c) => [c.label, c] as const))('stays plain: %s', (_, c) => {
    const { scene, node } = single(c);
    const before = [...scene.graph.nodes];
    expect(scene.layOut(B).blocked.size).toBe(0);
    expect([...scene.graph.nodes]).toEqual(before);
    expect(before).toContain(node);
  });
});

// ---- layouts

/** A blocked map [2, 2B, 4, 3], and what to make of it. */
type Reading = (s: Scene, y: Value, B: number) => Value;

const along =
  (axis: number, channels = 1): Reading =>
  (s, y, B) =>
    s.b.op('Concat', [y, s.input(2, 2 * B * channels, 4, 3)], { attributes: { axis: int(axis) } });

/** Slice from, to, along an axis, by steps; several axes where each has several. */
const cut =
  (ranges: (B: number) => readonly (readonly number[])[]): Reading =>
  (s, y, B) =>
    s.b.op('Slice', [y, ...ranges(B).map((list) => s.b.ints(...list))]);

const op =
  (
    type: string,
    attributes: Readonly<Record<string, Attribute>> = {},
    ...dims: number[][]
  ): Reading =>
  (s, y) =>
    s.b.op(type, [y, ...dims.map((d) => s.input(...d))], { attributes });

const IN_BLOCKS: Readonly<Record<string, Reading>> = {
  Sigmoid: op('Sigmoid'),
  'a scalar factor': op('Mul', {}, []),
  'a factor of one element': op('Mul', {}, [1, 1, 1, 1]),
  'limits that are scalars': (s, y) => s.b.op('Clip', [y, s.b.scalar(-0.5), s.b.scalar(0.5)]),
  'a sum with a plain map': (s, y, B) => s.b.op('Add', [y, s.input(2, 2 * B, 4, 3)]),
  'the gradient of a Relu, plain': (s, y, B) =>
    s.b.op('revnetify.ReluGrad', [y, s.input(2, 2 * B, 4, 3)]),
  'Concat along channels': along(1),
  'Slice of whole blocks': cut((B) => [[B], [2 * B], [1]]),
  'Slice of whole blocks, axis from the end': cut((B) => [[0], [B], [-3]]),
  'a view of the same shape': (s, y, B) => s.b.op('Reshape', [y, s.b.ints(2, 2 * B, 4, 3)]),
};

const NOT_IN_BLOCKS: Readonly<Record<string, Reading>> = {
  Softmax: op('Softmax', { axis: int(1) }),
  MaxPool: op('MaxPool', { kernel_shape: ints([2, 2]) }),
  'a factor per channel': (s, y, B) => s.b.op('Mul', [y, s.input(1, 2 * B, 1, 1)]),
  'Concat along images': along(0),
  'Concat of no whole block': along(1, 0.25),
  'Slice that cuts a block': cut((B) => [[B / 2], [B / 2 + B], [1]]),
  'Slice of no whole block': cut((B) => [[0], [B / 2], [1]]),
  'Slice of rows': cut(() => [[1], [3], [2]]),
  'Slice of whole blocks and of rows': cut((B) => [
    [B, 1],
    [2 * B, 3],
    [1, 2],
  ]),
  'Slice of every other channel': cut((B) => [[0], [2 * B], [1], [2]]),
  'one element that is not the first': cut(() => [
    [0, 1, 0, 0],
    [1, 2, 1, 1],
    [0, 1, 2, 3],
  ]),
  'another shape': (s, y, B) => s.b.op('Reshape', [y, s.b.ints(2, 2 * B, 3, 4)]),
};

describe.each(BLOCK_SIZES)('what lies in blocks of %d', (B) => {
  const start = (): { s: Scene; y: Value } => {
    const s = new Scene();
    return { s, y: s.conv(s.input(2, B, 4, 3), 2 * B) };
  };
  const activations = (s: Scene): string[] =>
    s.nodes('Conv', NCHWC).map((node) => node.attributes.string('activation', ''));

  test.each(Object.entries(IN_BLOCKS))('stays in them: %s', async (_, read) => {
    const { s, y } = start();
    const result = read(s, y, B);
    s.show(result);
    const layout = await s.rearrange(B);
    expect(layout.blocked.has(result)).toBe(true);
    const [first, ...others] = result.producer?.inputs ?? [];
    expect(first).toBe(y);
    for (const { shape, producer } of others.filter((v) => v !== undefined))
      expect(producer?.op).toBe(shape?.[1] === 2 * B ? 'ReorderInput' : undefined);
    expect(s.count('ReorderOutput')).toBe(1);
  });

  test.each(Object.entries(NOT_IN_BLOCKS))('leaves them: %s', async (_, read) => {
    const { s, y } = start();
    const result = read(s, y, B);
    s.show(result);
    const layout = await s.rearrange(B);
    expect(layout.blocked.has(y)).toBe(true);
    expect(layout.blocked.has(result)).toBe(false);
    const copy = result.producer?.input(0).producer;
    expect([copy?.op, copy?.input(0)]).toEqual(['ReorderOutput', y]);
    expect(s.count('ReorderOutput')).toBe(1);
  });

  test.each([
    ['the first element', cut(() => [0, 1].map((n) => new Array<number>(4).fill(n)))],
    ['the shape', op('Shape')],
  ])('%s is read in either layout', async (_, read) => {
    const { s, y } = start();
    const result = read(s, y, B);
    s.graph.outputs.push(result);
    await s.rearrange(B);
    expect(result.producer?.input(0)).toBe(y);
    expect(s.count('ReorderOutput')).toBe(0);
  });

  test('a Relu that alone reads a convolution becomes part of it', async () => {
    const { s, y } = start();
    const rectified = s.b.op('Relu', [y]);
    s.show(s.b.op('Relu', [s.conv(rectified, B)]));
    const layout = await s.rearrange(B);
    expect(s.nodes('Relu')).toEqual([]);
    expect(activations(s)).toEqual(['Relu', 'Relu']);
    expect(layout.blocked.has(rectified)).toBe(true);
  });

  test('a Relu behind a batch norm becomes part of its last convolution', async () => {
    const { s, y } = start();
    const vectors = [s.input(2 * B), s.input(2 * B)];
    const norm = s.b.node('revnetify.BatchNormTrain', [y, ...vectors], { outputs: 3 });
    s.show(s.b.op('Relu', [norm.output()]), norm.output(1));
    await s.rearrange(B);
    expect(s.nodes('Relu')).toEqual([]);
    expect(activations(s)).toEqual(['', '', '', 'Relu']);
  });

  test.each(['Flatten', 'Exp', 'outside'])('not where %s reads it too', async (other) => {
    const { s, y } = start();
    const rectified = s.b.op('Relu', [y]);
    s.show(rectified, other === 'outside' ? undefined : other === 'Exp' ? s.b.op('Exp', [y]) : y);
    const layout = await s.rearrange(B, { plain: other === 'outside' ? [y] : [] });
    expect(s.nodes('Relu').map((node) => node.output())).toEqual([rectified]);
    expect(activations(s)).toEqual(other === 'outside' ? [] : ['']);
    expect(layout.blocked.has(rectified)).toBe(other !== 'outside');
  });

  test('a value that is to be plain is', async () => {
    const { s, y } = start();
    const [sum, rectified] = [s.b.op('Add', [y, y]), s.b.op('Relu', [s.conv(y, B)])];
    const last = s.conv(y, B);
    s.graph.outputs.push(sum, rectified, last);
    const layout = await s.rearrange(B);
    expect(s.graph.outputs.some((value) => layout.blocked.has(value))).toBe(false);
    expect([sum, rectified, last].map((value) => value.producer?.domain)).toEqual(['', '', '']);
    expect(s.count('Conv')).toBe(2);
    expect(s.count('ReorderOutput')).toBe(2);
  });

  test.each([
    ['one unit and phase', { phase: 'backward', unit: 'u' }, 1],
    ['another unit', { phase: 'backward', unit: 'v' }, 2],
    ['another phase', { phase: 'recompute', unit: 'u' }, 2],
  ] as const)('copies for plain readers of %s', async (_, scope, count) => {
    const { s, y } = start();
    const first = { phase: 'backward', unit: 'u' } as const;
    for (const where of [first, scope])
      s.graph.outputs.push(s.b.within(where).op('Softmax', [y], { attributes: { axis: int(1) } }));
    await s.rearrange(B);
    expect(s.count('ReorderOutput')).toBe(count);
    for (const { producer: reader } of s.graph.outputs) {
      const copy = reader?.input(0).producer;
      expect([copy?.phase, copy?.unit]).toEqual([reader?.phase, reader?.unit]);
    }
  });

  test.each([true, false])('the weight of a recomputed convolution waits: %s', async (waits) => {
    const s = new Scene();
    const [x, token] = [s.input(2, B, 4, 3), s.feed(Tensor.scalar(0))];
    const scope = { phase: 'recompute', unit: 'u' } as const;
    // As in a step: what is recomputed from waits already, but weights are read as they are.
    const seen = s.b.within(scope).op('Add', [x, token]);
    const again = [s.conv(seen, B, scope), s.conv(seen, 2 * B, scope)];
    s.show(...again, s.conv(x, B), s.conv(x, B, { ...scope, phase: 'backward' }));
    const tokens = [['u', token]] as const;
    await s.rearrange(B, waits ? { waits: tokens } : {});
    expect(s.count('Conv')).toBe(4);
    const targets = s.nodes('Reshape').filter((node) => s.graph.inputs.includes(node.input(0)));
    const computed = targets.filter((node) => node.input(1).constant === undefined);
    expect(targets).toHaveLength(4);
    expect(computed.map((node) => node.phase)).toEqual(waits ? ['recompute', 'recompute'] : []);
    expect(s.nodes('Cast').map((node) => node.input(0))).toEqual(waits ? [token] : []);
    const problems = checkTokens(s.graph, new Map(tokens));
    expect(problems.length > 0).toBe(!waits);
  });
});
