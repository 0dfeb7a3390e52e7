// Couplings that are there already: which are found, that their reversal is exact, and what is not taken for one.

import { describe, expect, test } from 'vitest';
import { preResNet, resNetImageNet, resNetV1 } from '../../fixtures/models.js';
import { inferTypes } from '../../src/analysis/index.js';
import { compile } from '../../src/compiler/index.js';
import { cloneModel, InlineData, int } from '../../src/ir/index.js';
import type { Model, Value } from '../../src/ir/index.js';
import { Random } from '../../src/ops/index.js';
import { findCoupledChains, isReversible } from '../../src/reversible/index.js';
import { Net } from '../analysis/net.js';
import { build, check, couple } from '../autodiff/support.js';

/** Weights drawn, so that no two are equal. */
class Drawn extends Net {
  private readonly random = new Random(7);

  override constant(dims: readonly number[], value?: number): Value {
    if (value !== undefined || dims.length < 2) return super.constant(dims, value);
    const name = this.model.graph.uniqueName('w');
    const scale = Math.sqrt(1 / dims.slice(1).reduce((n, d) => n * d, 1));
    return this.model.graph.addConstant(name, new InlineData(this.random.tensor([...dims], scale)));
  }

  /** ReLU, convolution. */
  f(x: Value, from: number, to = from, stride = 1): Value {
    return this.conv(this.relu(x), from, to, stride);
  }

  halves(x: Value, width: number): [Value, Value] {
    const node = this.model.graph.addNode({
      op: 'Split',
      inputs: [x, this.int64(width, width)],
      outputs: ['left', 'right'].map((side) => this.model.graph.uniqueName(side)),
      attributes: { axis: int(1) },
    });
    return [node.output(0), node.output(1)];
  }

  /** Slices at given places, as torch.chunk is exported. */
  chunks(x: Value, width: number): [Value, Value] {
    const part = (from: number): Value =>
      this.op('Slice', [x, this.int64(from), this.int64(from + width), this.int64(1)]);
    return [part(0), part(width)];
  }

  concat(a: Value, b: Value): Value {
    return this.op('Concat', [a, b], { axis: int(1) });
  }

  classify(x: Value, channels: number): Model {
    const pooled = this.flatten(this.op('GlobalAveragePool', [x]));
    const { graph } = this.model;
    graph.outputs.push(this.op('MatMul', [pooled, this.constant([channels, 3])]));
    graph.sort();
    inferTypes(graph);
    return this.model;
  }
}

interface Streams {
  a: Value;
  b: Value;
}

/** y1 = x1 + F(x2), y2 = x2 + G(y1), a number of times. */
function units(net: Drawn, { a, b }: Streams, count: number, width: number): Streams {
  for (let k = 0; k < count; k++) {
    // Either order of operands.
    a = k % 2 === 0 ? net.add(a, net.f(b, width)) : net.add(net.f(b, width), a);
    b = net.add(b, net.f(a, width));
  }
  return { a, b };
}

const NETWORKS: Readonly<Record<string, { make: () => Model; chains: number[] }>> = {
  'a RevNet by Split': {
    make: () => {
      const net = new Drawn();
      const [a, b] = net.halves(net.conv(net.input(['N', 3, 8, 8]), 3, 8), 4);
      const end = units(net, { a, b }, 3, 4);
      return net.classify(net.concat(end.a, end.b), 8);
    },
    chains: [6],
  },
  'a RevNet by Slice, with an odd number of functions': {
    make: () => {
      const net = new Drawn();
      const [a, b] = net.chunks(net.conv(net.input(['N', 3, 8, 8]), 3, 8), 4);
      const end = units(net, { a, b }, 2, 4);
      const more = net.add(end.a, net.f(end.b, 4));
      return net.classify(net.concat(end.b, more), 8);
    },
    chains: [5],
  },
  'a RevNet of two stages with an ordinary convolution between them': {
    make: () => {
      const net = new Drawn();
      const [a, b] = net.halves(net.conv(net.input(['N', 3, 8, 8]), 3, 8), 4);
      const first = units(net, { a, b }, 2, 4);
      const wide = net.conv(net.relu(net.concat(first.a, first.b)), 8, 12, 2);
      const [c, d] = net.halves(wide, 6);
      const second = units(net, { a: c, b: d }, 1, 6);
      return net.classify(net.relu(net.concat(second.a, second.b)), 12);
    },
    chains: [4, 2],
  },
  'an i-RevNet: every stream goes through its own change of shape': {
    make: () => {
      const net = new Drawn();
      const [a, b] = net.halves(net.conv(net.input(['N', 3, 8, 8]), 3, 8), 4);
      const first = units(net, { a, b }, 2, 4);
      const pool = (x: Value): Value => net.conv(x, 4, 6, 2);
      const t = net.add(pool(first.a), net.f(first.b, 4, 6, 2));
      const second = units(net, { a: pool(first.b), b: t }, 1, 6);
      return net.classify(net.concat(second.a, second.b), 12);
    },
    chains: [7],
  },
  'streams that start as one value': {
    make: () => {
      const net = new Drawn();
      const x = net.conv(net.input(['N', 3, 8, 8]), 3, 4);
      const end = units(net, { a: x, b: x }, 2, 4);
      return net.classify(net.add(end.a, end.b), 4);
    },
    chains: [4],
  },
  'functions that hold a residual block': {
    make: () => {
      const net = new Drawn();
      let [a, b] = net.halves(net.conv(net.input(['N', 3, 8, 8]), 3, 8), 4);
      for (let k = 0; k < 3; k++) [a, b] = [b, net.add(a, net.conv(net.block(net.f(b, 4))))];
      return net.classify(net.concat(a, b), 8);
    },
    chains: [3],
  },
};

describe.each(Object.entries(NETWORKS))('%s', (_name, { make, chains }) => {
  test('its couplings are found, and nothing is rewritten', () => {
    const model = make();
    const nodes = new Set(model.graph.nodes);
    const found = findCoupledChains(model.graph);
    expect(found.map((chain) => chain.couplings.length)).toEqual(chains);
    for (const { couplings } of found)
      couplings.slice(1).forEach(({ a, b }, index) => {
        expect(a).toBe(couplings[index]?.carried);
        expect(b).toBe(couplings[index]?.t);
      });
    expect(new Set(model.graph.nodes)).toEqual(nodes);
  });

  test('it is reversed under every recipe, and gradients are exact in float64', () => {
    for (const recipe of ['paper', 'rewire', 'none'] as const) {
      const coupled = couple(make(), { recipe, batchNorm: 'keep' });
      const reversible = coupled.analysis.reports.filter((r) => r.code === 'reversible');
      expect(reversible).toHaveLength(chains.reduce((n, length) => n + length, 0));
      const { step } = build(coupled).state;
      expect(step?.units.filter((u) => u.policy === 'reverse').length).toBeGreaterThan(0);
      expect(step?.backward.reconstructed.size).toBeGreaterThan(0);
      expect(check(coupled, {}).failed).toEqual([]);
    }
  });
});

describe('what was made by couple-residual-blocks', () => {
  const made: Readonly<Record<string, () => Model>> = {
    'pre-activation': () => preResNet({ depth: 20, width: 2, image: 8, norm: 'random' }),
    'v1, option A': () => resNetV1({ depth: 20, width: 2, image: 8, norm: 'random' }),
    bottleneck: () =>
      resNetImageNet({ layers: [3, 3], block: 'bottleneck', width: 4, image: 32, classes: 3 }),
  };
  test.each(
    Object.keys(made).flatMap((name) =>
      (['paper', 'rewire'] as const).flatMap((recipe) =>
        (['widen', 'split'] as const).map((partition) => ({ name, recipe, partition })),
      ),
    ),
  )('$name, $recipe, $partition: the same chains, from the first reversible coupling on', (how) => {
    const first = couple(made[how.name]?.() ?? preResNet({ depth: 20 }), how);
    const plain = (chains: typeof first.chains): string[][] =>
      chains.map(({ couplings }) =>
        couplings
          .slice(couplings.findIndex(isReversible))
          .map((c) => [c.a, c.b, c.f, c.t, c.carried].map((v) => v.name).join(' ')),
      );
    const again = couple(cloneModel(first.rev).model, how);
    expect(plain(again.chains)).toEqual(plain(first.chains));
    expect(again.rev.graph.nodes.size).toBe(first.rev.graph.nodes.size);
  });
});

describe('no coupling', () => {
  test.each<[string, () => Model]>([
    ['a pre-activation network', () => preResNet({ depth: 20, width: 2, image: 8 })],
    ['a v1 network', () => resNetV1({ depth: 20, width: 2, image: 8 })],
    [
      'blocks in a block whose first starts where it starts',
      () => {
        const net = new Drawn();
        const x = net.conv(net.input(['N', 3, 8, 8]), 3, 4);
        return net.classify(net.add(x, net.f(net.block(x), 4)), 4);
      },
    ],
    [
      'a U-Net by addition',
      () => {
        const net = new Drawn();
        const x = net.conv(net.input(['N', 3, 8, 8]), 3, 4);
        return net.classify(net.add(x, net.f(net.block(net.block(net.f(x, 4))), 4)), 4);
      },
    ],
    [
      'a ReLU after the sum: the state before it is gone',
      () => {
        const net = new Drawn();
        let [a, b] = net.halves(net.conv(net.input(['N', 3, 8, 8]), 3, 8), 4);
        for (let k = 0; k < 4; k++) [a, b] = [b, net.relu(net.add(a, net.conv(b)))];
        return net.classify(net.concat(a, b), 8);
      },
    ],
    [
      'a function that reads both streams',
      () => {
        const net = new Drawn();
        let [a, b] = net.halves(net.conv(net.input(['N', 3, 8, 8]), 3, 8), 4);
        for (let k = 0; k < 4; k++) [a, b] = [b, net.add(a, net.conv(net.concat(a, b), 8, 4))];
        return net.classify(net.concat(a, b), 8);
      },
    ],
    [
      'a function that reads what it is added to, which is computed from the other stream',
      () => {
        const net = new Drawn();
        const b = net.conv(net.input(['N', 3, 8, 8]), 3, 4);
        const a = net.conv(b);
        const t = net.add(a, net.conv(net.concat(a, b), 8, 4));
        return net.classify(net.concat(t, net.add(b, net.f(t, 4))), 8);
      },
    ],
  ])('%s', (_name, make) => {
    const { graph } = make();
    inferTypes(graph);
    expect(findCoupledChains(graph)).toEqual([]);
  });
});

test('a chain ends before a function whose inside is read elsewhere', () => {
  const net = new Drawn();
  const [a, b] = net.halves(net.conv(net.input(['N', 3, 8, 8]), 3, 8), 4);
  const first = units(net, { a, b }, 2, 4);
  const inner = net.f(first.b, 4);
  const second = units(net, { a: net.add(first.a, net.f(inner, 4)), b: first.b }, 1, 4);
  const { graph } = net.classify(net.concat(net.add(second.a, inner), second.b), 8);
  expect(findCoupledChains(graph).map((c) => c.couplings.length)).toEqual([4, 2]);
});

test('activations do not grow with the number of couplings', () => {
  const bytes = (count: number): { plan: number; stored: number } => {
    const net = new Drawn();
    const [a, b] = net.halves(net.conv(net.input(['N', 3, 8, 8]), 3, 8), 4);
    const end = units(net, { a, b }, count, 4);
    const model = net.classify(net.concat(end.a, end.b), 8);
    const { plan } = compile(model, {
      name: 'net',
      source: 'net.onnx',
      batch: 8,
      batchNorm: 'keep',
    });
    const { plan: own, originalStored } = plan.memory;
    return { plan: own.activationBytes, stored: originalStored.activationBytes };
  };
  const [few, many] = [bytes(4), bytes(16)];
  expect(many.plan).toBe(few.plan);
  expect(many.stored).toBeGreaterThan(2 * few.stored);
});

test('every coupling but a change of shape can be reversed', () => {
  const { make } = NETWORKS['an i-RevNet: every stream goes through its own change of shape'] ?? {};
  const [chain] = make ? findCoupledChains(make().graph) : [];
  expect(chain?.couplings.map(isReversible)).toEqual([true, true, true, true, false, true, true]);
});

test('ordinary blocks beside couplings are coupled as well', () => {
  const net = new Drawn();
  const stem = net.block(net.block(net.conv(net.input(['N', 3, 8, 8]), 3, 8), 8), 8);
  const [a, b] = net.halves(net.relu(stem), 4);
  const end = units(net, { a, b }, 2, 4);
  const coupled = couple(net.classify(net.concat(end.a, end.b), 8), { batchNorm: 'keep' });
  expect(coupled.analysis.reports.map((r) => r.code)).toEqual([
    'coupled',
    'coupled',
    ...Array.from({ length: 4 }, () => 'reversible'),
  ]);
  expect(coupled.chains.map((c) => c.couplings.length).sort()).toEqual([2, 4]);
  expect(check(coupled, {}).failed).toEqual([]);
});
