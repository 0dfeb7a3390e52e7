// Networks in which blocks hold blocks or share weights: what is coupled, and that gradients stay exact in float64.

import { describe, expect, test } from 'vitest';
import { inferTypes } from '../../src/analysis/index.js';
import { InlineData, ints } from '../../src/ir/index.js';
import type { Model, Value } from '../../src/ir/index.js';
import { Random } from '../../src/ops/index.js';
import type { Settings } from '../../passes/index.js';
import { FORMS, check, couple } from '../autodiff/support.js';
import { Net } from './net.js';

class Drawn extends Net {
  private readonly random = new Random(11);

  override constant(dims: readonly number[], value?: number): Value {
    if (value !== undefined || dims.length < 2) return super.constant(dims, value);
    const scale = Math.sqrt(1 / dims.slice(1).reduce((n, d) => n * d, 1));
    const tensor = this.random.tensor([...dims], scale);
    return this.model.graph.addConstant(this.model.graph.uniqueName('w'), new InlineData(tensor));
  }

  /** x + conv(relu(x)). */
  residual(x: Value, channels = 4): Value {
    return this.add(x, this.conv(this.relu(x), channels));
  }

  /** x + conv(relu(x)) with a given filter. */
  tied(x: Value, w: Value): Value {
    return this.add(x, this.op('Conv', [this.relu(x), w]));
  }

  classify(x: Value, channels = 4): Model {
    const pooled = this.flatten(this.op('GlobalAveragePool', [x]));
    const { graph } = this.model;
    graph.outputs.push(this.op('MatMul', [pooled, this.constant([channels, 3])]));
    graph.sort();
    inferTypes(graph);
    return this.model;
  }
}

interface Case {
  make: () => Model;
  /** Codes of the residual connections, in order. */
  codes: string[];
}

const STRIDE_2 = { strides: ints([2, 2]), kernel_shape: ints([2, 2]) };

const stem = (net: Drawn): Value => net.conv(net.input(['N', 3, 8, 8]), 3, 4);

const group = ['coupled', 'coupled', 'coupled'];

const CASES: Readonly<Record<string, Case>> = {
  'a U-Net with additive skips': {
    make: () => {
      const net = new Drawn();
      const x = stem(net);
      const down = net.residual(net.residual(net.conv(x, 4, 6, 2), 6), 6);
      const bottom = net.residual(net.residual(net.conv(net.relu(down), 6), 6), 6);
      const middle = net.add(down, net.relu(bottom));
      const up = net.op('ConvTranspose', [middle, net.constant([6, 4, 2, 2])], STRIDE_2);
      return net.classify(net.add(x, up));
    },
    codes: ['coupled', 'coupled', 'coupled', 'coupled', 'nested', 'nested'],
  },
  'ResNet in ResNet, three deep': {
    make: () => {
      const net = new Drawn();
      const x = stem(net);
      const nest = (y: Value): Value =>
        net.add(y, net.conv(net.residual(net.residual(net.residual(net.conv(y))))));
      return net.classify(net.add(x, net.conv(nest(nest(net.relu(x))))));
    },
    codes: [...group, 'nested', ...group, 'nested', 'nested'],
  },
  'a chain behind a parallel pair and a tapped block': {
    make: () => {
      const net = new Drawn();
      const x = stem(net);
      const parallel = net.add(net.add(x, net.conv(net.relu(x))), net.conv(x));
      const inner = net.relu(net.conv(parallel));
      const tapped = net.add(parallel, net.conv(inner));
      const end = net.residual(net.residual(net.conv(tapped)));
      return net.classify(net.add(net.conv(inner), net.conv(end)));
    },
    codes: ['parallel', 'parallel', 'tapped', 'coupled', 'coupled'],
  },
  'one filter in every block': {
    make: () => {
      const net = new Drawn();
      const w = net.constant([4, 4, 1, 1]);
      let x = stem(net);
      for (let k = 0; k < 4; k++) x = net.tied(x, w);
      return net.classify(x);
    },
    codes: ['coupled', 'coupled', 'coupled', 'coupled'],
  },
  'a filter of the stem and of two blocks out of three': {
    make: () => {
      const net = new Drawn();
      const w = net.constant([4, 4, 1, 1]);
      const x = net.op('Conv', [net.relu(stem(net)), w]);
      return net.classify(net.tied(net.residual(net.tied(x, w)), w));
    },
    codes: ['coupled', 'coupled', 'coupled'],
  },
};

const KEEP: Partial<Settings> = { batchNorm: 'keep' };

describe.each(Object.entries(CASES))('%s', (_name, { make, codes }) => {
  test('what is coupled and what is left', () => {
    const { reports } = couple(make(), KEEP).analysis;
    expect(reports.map((r) => r.code)).toEqual(codes);
  });

  test.each(FORMS)('$recipe, $partition: exact gradients', (form) => {
    const coupled = couple(make(), { ...KEEP, ...form });
    expect(coupled.chains.length).toBeGreaterThan(0);
    for (const policy of ['reverse', 'recompute'] as const)
      expect(check(coupled, { policy }).failed).toEqual([]);
  });
});
