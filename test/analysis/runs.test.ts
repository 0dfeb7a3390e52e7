// Runs of blocks that can share two streams, and the counts of well-known networks.

import { describe, expect, test } from 'vitest';
import { preResNet, resNetImageNet } from '../../fixtures/models.js';
import { analyseModel } from '../../src/compiler/index.js';
import { int } from '../../src/ir/index.js';
import type { Model, Value } from '../../src/ir/index.js';
import { Net } from './net.js';

/** Blocks one after the other, with something between them. */
const joined = (
  between: (net: Net, x: Value) => Value,
  more: (net: Net, x: Value) => Value[] = () => [],
): number[] => {
  const net = new Net();
  const first = net.block(net.conv(net.input()));
  const last = net.block(net.block(between(net, first)));
  return net.runs(last, ...more(net, first));
};

describe('a run', () => {
  test('goes through blocks that follow each other', () => {
    expect(joined((_net, x) => x)).toEqual([3]);
  });
  test('goes through a ReLU after the Add', () => {
    expect(joined((net, x) => net.relu(x))).toEqual([3]);
  });
  test.each<[string, (net: Net, x: Value) => Value]>([
    ['a second ReLU', (net, x) => net.relu(net.relu(x))],
    ['another activation', (net, x) => net.op('Sigmoid', [x])],
    ['a convolution', (net, x) => net.conv(x)],
    ['a batch norm', (net, x) => net.batchNorm(x)],
  ])('ends at %s', (_name, between) => {
    expect(joined(between)).toEqual([1, 2]);
  });
  test('ends where the state is read elsewhere', () => {
    expect(
      joined(
        (_net, x) => x,
        (net, x) => [net.conv(x)],
      ),
    ).toEqual([1, 2]);
    expect(
      joined(
        (net, x) => net.relu(x),
        (net, x) => [net.conv(x)],
      ),
    ).toEqual([1, 2]);
  });
  test('ends where the state is returned', () => {
    expect(
      joined(
        (_net, x) => x,
        (_n, x) => [x],
      ),
    ).toEqual([1, 2]);
  });
  test('does not end where only its shape is read', () => {
    const shape = (net: Net, x: Value): Value[] => [
      net.op('Gather', [net.op('Shape', [x]), net.int64(0)], { axis: int(0) }),
    ];
    expect(joined((_net, x) => x, shape)).toEqual([3]);
  });
  test('leaves out blocks that hold blocks', () => {
    const net = new Net();
    const x = net.conv(net.input());
    const outer = net.add(x, net.block(net.block(net.conv(x))));
    expect(net.runs(outer)).toEqual([2]);
  });
});

const counts = (model: Model): string => {
  const { blocks, longestRun } = analyseModel(model);
  const of = (kind: string): number => blocks.filter((b) => b.kind === kind).length;
  return `${blocks.length} ${of('identity')} ${of('projection')} ${longestRun}`;
};

/** Residual Adds, identity shortcuts, projections, longest run of blocks of one shape. */
describe('known networks', () => {
  const imageNet = (layers: readonly number[], block: 'basic' | 'bottleneck'): Model =>
    resNetImageNet({ layers, block, width: 2, image: 64, classes: 4 });
  test.each<[string, () => Model, string]>([
    ['resnet18', () => imageNet([2, 2, 2, 2], 'basic'), '8 5 3 2'],
    ['resnet34', () => imageNet([3, 4, 6, 3], 'basic'), '16 13 3 5'],
    ['resnet50', () => imageNet([3, 4, 6, 3], 'bottleneck'), '16 12 4 5'],
    ['resnet101', () => imageNet([3, 4, 23, 3], 'bottleneck'), '33 29 4 22'],
    ['resnet152', () => imageNet([3, 8, 36, 3], 'bottleneck'), '50 46 4 35'],
    ['preresnet20', () => preResNet({ depth: 20, width: 2, image: 8 }), '9 7 2 3'],
    ['preresnet110', () => preResNet({ depth: 110, width: 2, image: 8 }), '54 52 2 18'],
    [
      'preresnet164',
      () => preResNet({ depth: 164, width: 2, image: 8, block: 'bottleneck' }),
      '54 51 3 17',
    ],
  ])('%s', (_name, make, expected) => {
    expect(counts(make())).toBe(expected);
  });
});
