// The float64 checks can fail: each fault below, put into a right step, is found. A check that passes here on a faulty
// step is worth nothing in exact.test.ts.

import { describe, expect, test } from 'vitest';
import { resNetImageNet } from '../../fixtures/models.js';
import { Tensor, ints } from '../../src/ir/index.js';
import type { Graph, Node, Value } from '../../src/ir/index.js';
import { Builder, REVNETIFY } from '../../src/ops/index.js';
import { NETWORKS, check, couple } from './support.js';
import type { Fault } from './support.js';

const nodesOf = (graph: Graph, op: string, domain = REVNETIFY): Node[] =>
  [...graph.nodes].filter((n) => n.op === op && n.domain === domain);

function only<T>(found: readonly T[], what: string): T {
  const [first] = found;
  if (first === undefined) throw new Error(`the step has no ${what}`);
  return first;
}

const network = (name: string): ReturnType<typeof couple> => {
  const make = NETWORKS[name];
  if (!make) throw new Error(name);
  return couple(make());
};

const preActivation = network('pre-activation 20');
const v1 = network('v1 20, option A');

const inverses = (graph: Graph): Node[] =>
  [...graph.nodes].filter((n) => n.phase === 'recompute' && /\/inverse$/.test(n.output().name));

/** a = t + f(b). */
const wrongSign: Fault = (graph) => {
  for (const node of inverses(graph)) node.op = 'Add';
};

/** dX without the mean of dY: dX + gamma/√(var + ε)·dbeta/M. */
const noMeanTerm: Fault = (graph) => {
  const node = only(nodesOf(graph, 'BatchNormGrad'), 'batch norm gradient');
  const b = new Builder(graph, { phase: 'backward', path: 'fault' });
  const [, , gamma, , variance] = [0, 1, 2, 3, 4].map((i) => node.input(i)) as [
    Value,
    Value,
    Value,
    Value,
    Value,
  ];
  const dX = node.output(0);
  const shape = dX.shape as readonly number[];
  const count = shape.reduce((n, d) => n * d, 1) / (shape[1] ?? 1);
  const epsilon = b.scalar(node.attributes.float('epsilon', 0));
  const deviation = b.op('Sqrt', [b.op('Add', [variance, epsilon])]);
  const lost = b.op('Mul', [
    b.op('Div', [gamma, deviation]),
    b.op('Div', [node.output(2), b.scalar(count)]),
  ]);
  const wide = b.op('Reshape', [lost, b.ints(1, shape[1] ?? 1, 1, 1)]);
  const wrong = b.op('Add', [dX, wide]);
  graph.replaceUses(dX, wrong, (use) => use.node !== wrong.producer);
  graph.sort();
};

/** The mask from what the batch norm before the ReLU read. */
const wrongMask: Fault = (graph) => {
  const node = only(
    nodesOf(graph, 'ReluGrad').filter(
      (n) => n.input(0).producer?.input(0).producer?.op === 'BatchNormApply',
    ),
    'ReLU gradient after a recomputed batch norm',
  );
  const before = node.input(0).producer?.input(0).producer?.input(0);
  node.setInput(0, before);
  graph.sort();
};

/** a = b − f(b). */
const reversedWrongStream: Fault = (graph) => {
  const node = only(
    inverses(graph).filter((n) => n.unit === 'stage1.1' || n.unit === 'stage2.2'),
    'inverse',
  );
  // The function's first node reads b; where it stands is known from the shape.
  const first = [...graph.nodes].find(
    (n) => n.phase === 'recompute' && n.unit === node.unit && n.op === 'BatchNormApply',
  );
  const b = first?.input(0);
  if (!b) throw new Error('the unit does not begin with a batch norm');
  node.setInput(0, b);
  graph.sort();
};

/** d_a and d_b change places between two couplings. */
const swappedGradients: Fault = (graph) => {
  const of = (unit: string): Node[] =>
    [...graph.nodes].filter((n) => n.phase === 'backward' && n.unit === unit);
  const sum = only(
    of('stage1.1').filter((n) => /\/accumulate$/.test(n.output().name)),
    'accumulated gradient',
  );
  // In stage1.1 the gradient of b is the sum, that of t is what stage1.2 accumulated.
  const next = only(
    of('stage1.2').filter((n) => /\/accumulate$/.test(n.output().name)),
    'accumulated gradient',
  );
  /** What stage1.0 reads in place of the value: the views of the units it passed through. */
  const behindView = (value: Value): Value => {
    for (const unit of ['stage1.1', 'stage1.0']) {
      const view = value.users.find((n) => n.op === 'Reshape' && n.unit === unit);
      value = view?.output() ?? value;
    }
    return value;
  };
  const [db, da] = [behindView(sum.output()), behindView(next.output())];
  const inFirst = of('stage1.0');
  const uses = (value: Value): typeof value.uses =>
    value.uses.filter((use) => inFirst.includes(use.node) && use.node.op !== 'Slice');
  const [fromB, fromA] = [uses(db), uses(da)];
  expect(fromB.length).toBeGreaterThan(0);
  expect(fromA.length).toBeGreaterThan(0);
  for (const use of fromB) use.node.setInput(use.index, da);
  for (const use of fromA) use.node.setInput(use.index, db);
  graph.sort();
};

/** Running averages updated once more, as a recompute that ran the batch norm again would. */
const updatedTwice: Fault = (graph) => {
  const next = only(
    graph.outputs.filter((v) => v.producer?.unit === 'statistics'),
    'running statistic',
  );
  const sum = next.producer;
  const kept = sum?.input(0).producer;
  if (!sum || !kept) throw new Error('a running statistic is a sum');
  const b = new Builder(graph, { phase: 'update', path: 'fault' });
  const again = b.op('Add', [
    b.op('Mul', [b.op('Add', [kept.output(), sum.input(1)]), kept.input(1)]),
    sum.input(1),
  ]);
  const node = again.producer;
  if (!node) throw new Error('no node');
  sum.setInput(0, node.input(0));
  sum.setInput(1, node.input(1));
  graph.removeNode(node);
  graph.sort();
};

describe('a fault in the step is found:', () => {
  test('none in the right step', () => {
    expect(check(preActivation, { policy: 'reverse', target: 'cpu' }).failed).toEqual([]);
    expect(check(v1, { policy: 'reverse', target: 'cpu' }).failed).toEqual([]);
  });

  test.each([
    ['inverse with the wrong sign', wrongSign],
    ['batch norm gradient without its mean term', noMeanTerm],
    ['ReLU mask from the wrong tensor', wrongMask],
    ['inverse from the wrong stream', reversedWrongStream],
    ['gradients of the streams swapped', swappedGradients],
  ] as const)('%s', (_name, fault) => {
    const { failed } = check(preActivation, { policy: 'reverse', target: 'cpu' }, { fault });
    expect(failed).toContain('recompute');
    expect(failed).toContain('finite differences');
    expect(failed).not.toContain('running statistics');
  });

  test('ReLU mask from the wrong tensor, activation after the Add', () => {
    const { failed } = check(v1, { policy: 'reverse', target: 'cpu' }, { fault: wrongMask });
    expect(failed).toEqual(['recompute', 'finite differences']);
  });

  test('running statistics updated twice', () => {
    const { failed } = check(
      preActivation,
      { policy: 'reverse', target: 'cpu' },
      { fault: updatedTwice },
    );
    expect(failed).toEqual(['running statistics']);
  });
});

describe('a maximum that several elements share', () => {
  /** A ResNet stem with a 2x2 pool: its gradient to all maxima is short to write. */
  const pooled = couple(
    (() => {
      const model = resNetImageNet({
        layers: [2, 2],
        width: 2,
        image: 32,
        classes: 3,
        seed: 4,
        norm: 'random',
      });
      const pool = only(nodesOf(model.graph, 'MaxPool', ''), 'max pool');
      pool.attributes = pool.attributes.with({
        kernel_shape: ints([2, 2]),
        pads: ints([0, 0, 0, 0]),
      });
      return model;
    })(),
  );
  /** Left of this column every row of an image is one colour: windows there hold one value four times. */
  const FLAT = 24;
  const flatImages: NonNullable<NonNullable<Parameters<typeof check>[2]>['feeds']> = (
    feeds,
    { loss },
  ) => {
    const images = loss?.images;
    const tensor = images && feeds.get(images);
    if (!images || !tensor) throw new Error('no images');
    const [, , height = 0, width = 0] = tensor.dims;
    const plane = height * width;
    const data = tensor.data.map((x, i) =>
      i % width < FLAT ? (tensor.data[i - (i % plane)] ?? 0) : x,
    );
    feeds.set(images, new Tensor(tensor.dtype, tensor.dims, data));
  };
  const toAllMaxima: Fault = (graph) => {
    const node = only(nodesOf(graph, 'MaxPoolGrad'), 'max pool gradient');
    const [x, y, dY] = [node.input(0), node.input(1), node.input(2)];
    const b = new Builder(graph, { phase: 'backward', path: 'fault' });
    const [n = 0, c = 0, h = 0, w = 0] = y.shape as readonly number[];
    const up = (v: Value): Value => {
      const apart = b.op('Reshape', [v, b.ints(n, c, h, 1, w, 1)]);
      const wide = b.op('Expand', [apart, b.ints(n, c, h, 2, w, 2)]);
      return b.op('Reshape', [wide, b.ints(n, c, 2 * h, 2 * w)]);
    };
    const hit = b.op('Equal', [x, up(y)]);
    const wrong = b.op('Where', [hit, up(dY), b.constant(Tensor.scalar(0))]);
    graph.replaceUses(node.output(), wrong);
    graph.sort();
  };

  test('passes every check as it is', () => {
    const { failed } = check(pooled, { policy: 'reverse', target: 'cpu' }, { feeds: flatImages });
    expect(failed).toEqual([]);
  });

  test('is found when its gradient goes to all of them', () => {
    const { failed } = check(
      pooled,
      { policy: 'reverse', target: 'cpu' },
      { feeds: flatImages, fault: toAllMaxima },
    );
    expect(failed).toEqual(['recompute', 'finite differences']);
  });
});
