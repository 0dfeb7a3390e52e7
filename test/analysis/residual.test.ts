// Which Adds are residual, on graphs small enough to see.

import { describe, expect, test } from 'vitest';
import { int } from '../../src/ir/index.js';
import { Net } from './net.js';

describe('identity blocks', () => {
  test.each(['Add', 'Sum'])('%s, the shortcut as either operand', (op) => {
    for (const shortcutIndex of [0, 1]) {
      const net = new Net();
      const x = net.input();
      const f = net.conv(net.relu(x));
      const found = net.blocks(net.op(op, shortcutIndex === 0 ? [x, f] : [f, x]));
      expect(found).toMatchObject([{ kind: 'identity', shortcutIndex, shapesProved: true }]);
      expect(found[0]?.input).toBe(x);
      expect(found[0]?.branch.map((n) => n.op)).toEqual(['Relu', 'Conv']);
    }
  });

  test('a branch of several paths is one branch', () => {
    const net = new Net();
    const x = net.input();
    const y = net.conv(x);
    const gated = net.op('Mul', [y, net.op('Sigmoid', [y])]);
    expect(net.blocks(net.add(gated, x))).toMatchObject([{ kind: 'identity', nested: false }]);
  });

  test('a shape read inside the branch for use elsewhere is no exit of its data', () => {
    const net = new Net();
    const x = net.input();
    const y = net.conv(x);
    const batch = net.op('Slice', [net.op('Shape', [y]), net.int64(0), net.int64(1)]);
    const target = net.op('Concat', [batch, net.int64(-1)], { axis: int(0) });
    const sum = net.add(x, net.conv(y));
    expect(net.blocks(net.op('Reshape', [sum, target]))).toHaveLength(1);
  });

  test('a branch whose data is read elsewhere is no residual function', () => {
    const net = new Net();
    const x = net.input();
    const y = net.conv(x);
    const sum = net.add(x, net.conv(y));
    expect(net.blocks(net.op('Mul', [sum, y]))).toEqual([]);
  });

  test('nor one whose data the graph returns', () => {
    const net = new Net();
    const x = net.input();
    const y = net.conv(x);
    expect(net.blocks(net.add(x, net.conv(y)), y)).toEqual([]);
  });

  test('a block that holds blocks is marked', () => {
    const net = new Net();
    const x = net.input();
    const inner = net.block(net.conv(x));
    const found = net.blocks(net.add(x, inner));
    expect(found.map((b) => b.nested)).toEqual([false, true]);
  });
});

describe('projections', () => {
  test('a convolution on the shortcut: the smaller side is the shortcut', () => {
    const net = new Net();
    const x = net.input();
    const f = net.conv(net.relu(net.conv(x, 4, 8, 2)), 8);
    const found = net.blocks(net.add(f, net.conv(x, 4, 8, 2)));
    expect(found).toMatchObject([{ kind: 'projection', shortcutIndex: 1 }]);
    expect(found[0]?.shortcut).toHaveLength(1);
    expect(found[0]?.branch).toHaveLength(3);
  });

  test('option A: every second pixel, zero channels', () => {
    const net = new Net();
    const x = net.input();
    const every = net.op('Slice', [
      x,
      net.int64(0, 0),
      net.int64(2 ** 40, 2 ** 40),
      net.int64(2, 3),
      net.int64(2, 2),
    ]);
    const wide = net.op('Pad', [every, net.int64(0, 2, 0, 0, 0, 2, 0, 0)]);
    const f = net.conv(net.relu(net.conv(x, 4, 8, 2)), 8);
    const found = net.blocks(net.add(wide, f));
    expect(found).toMatchObject([{ kind: 'projection', shapesProved: true }]);
    expect(found[0]?.shortcut.map((n) => n.op)).toEqual(['Slice', 'Pad']);
  });

  test('pre-activation: both sides start at the activated input', () => {
    const net = new Net();
    const active = net.relu(net.batchNorm(net.input()));
    const f = net.conv(net.relu(net.batchNorm(net.conv(active, 4, 8, 2), 8)), 8);
    const found = net.blocks(net.add(f, net.conv(active, 4, 8, 2)));
    expect(found).toMatchObject([{ kind: 'projection', shortcutIndex: 1 }]);
    expect(found[0]?.input).toBe(active);
  });
});

describe('Adds that are no blocks', () => {
  test.each<[string, (net: Net) => unknown]>([
    [
      'x + x',
      (net) => {
        const y = net.conv(net.input());
        return net.blocks(net.add(y, y));
      },
    ],
    ['a bias', (net) => net.blocks(net.add(net.conv(net.input()), net.constant([4, 1, 1])))],
    [
      'GELU by erf',
      (net) => {
        const y = net.conv(net.input());
        const erf = net.op('Erf', [net.op('Div', [y, net.constant([], Math.SQRT2)])]);
        const half = net.op('Mul', [y, net.constant([], 0.5)]);
        return net.blocks(net.op('Mul', [half, net.add(erf, net.constant([], 1))]));
      },
    ],
    [
      'GELU by tanh: x + 0.044715 x³ learns nothing',
      (net) => {
        const y = net.conv(net.input());
        const cube = net.op('Mul', [
          net.op('Pow', [y, net.constant([], 3)]),
          net.constant([], 0.044715),
        ]);
        return net.blocks(net.op('Tanh', [net.add(y, cube)]));
      },
    ],
    [
      'hard swish',
      (net) => {
        const y = net.conv(net.input());
        const gate = net.op('Clip', [
          net.add(y, net.constant([], 3)),
          net.constant([], 0),
          net.constant([], 6),
        ]);
        return net.blocks(net.op('Mul', [y, gate]));
      },
    ],
    [
      'a broadcast branch',
      (net) => {
        const x = net.input();
        return net.blocks(net.add(x, net.conv(net.op('GlobalAveragePool', [x]))));
      },
    ],
    [
      'two inputs',
      (net) => net.blocks(net.add(net.conv(net.input()), net.conv(net.input(undefined, 'other')))),
    ],
    [
      'three operands of a Sum',
      (net) => {
        const x = net.input();
        return net.blocks(net.op('Sum', [x, net.conv(x), net.conv(x)]));
      },
    ],
  ])('%s', (_name, found) => {
    expect(found(new Net())).toEqual([]);
  });

  test('parallel branches x + f(x) + g(x): only the inner Add', () => {
    const net = new Net();
    const x = net.input();
    const sum = net.add(net.add(x, net.conv(x)), net.conv(x));
    // x + f(x) is read once, but x is read by g too: a chain through it would be wrong.
    expect(net.runs(sum).every((length) => length < 2)).toBe(true);
  });
});

test('tied weights inside two blocks do not hide them', () => {
  const net = new Net();
  const x = net.input();
  const w = net.constant([4, 4, 1, 1]);
  const y = net.add(x, net.op('Conv', [x, w]));
  expect(net.blocks(net.add(y, net.op('Conv', [y, w])))).toHaveLength(2);
});
