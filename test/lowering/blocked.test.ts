// Each rule of the blocked layout on single nodes against the operator's definition. Out: a failed expectation where a rule is
// not used, is used where it does not apply, or changes a value.

import { describe, expect, test } from 'vitest';
import { probeBlock } from '../../runtime/device/index.js';
import { Attributes, BLOCK_SIZES, NCHWC, Tensor, float, int, ints } from '../../src/ir/index.js';
import type { Attribute, Node } from '../../src/ir/index.js';
import { Random, evaluateNode } from '../../src/ops/index.js';
import { channelData, channelStatistics } from '../../src/ops/channels.js';
import { caseGeometry } from '../../src/ops/conv-cases.js';
import type { ConvCase } from '../../src/ops/conv-cases.js';
import { gradAttributes } from '../../src/ops/conv-gradient.js';
import { Scene } from './blocked-scene.js';

test('ONNX Runtime here works in blocks', async () => {
  expect(BLOCK_SIZES).toContain(await probeBlock());
});

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
