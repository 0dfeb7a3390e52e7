// How channels are shared out between the streams, on small networks.

import { describe, expect, test } from 'vitest';
import { preResNet, resNetImageNet, resNetV1 } from '../../fixtures/models.js';
import { createState } from '../../passes/index.js';
import { restoreBatchNorm } from '../../passes/restore-batch-norm.js';
import type { CompileState, Settings } from '../../passes/index.js';
import { findParameters } from '../../src/autodiff/index.js';
import { analyseModel } from '../../src/compiler/index.js';
import { elementCount, int, ints } from '../../src/ir/index.js';
import type { Model, Value } from '../../src/ir/index.js';
import { Random, interpret } from '../../src/ops/index.js';
import { Net } from '../analysis/net.js';

const coupled = (model: Model, settings: Partial<Settings>): CompileState =>
  analyseModel(model, { recipe: 'paper', batch: 2, ...settings });

const constant = ({ model }: CompileState, name: string): number[] => {
  const value = [...model.graph.constants].find((v) => v.name === name);
  if (!value?.constant) throw new Error(`no constant ${name}`);
  return value.constant.load().toArray();
};
const dims = ({ model }: CompileState, name: string): readonly number[] =>
  [...model.graph.constants].find((v) => v.name === name)?.constant?.dims ?? [];

const parameters = ({ model }: CompileState): number =>
  findParameters(model.graph).reduce((n, v) => n + elementCount(v.constant?.dims ?? []), 0);

const small = (): Model => preResNet({ depth: 20, width: 4, image: 8, classes: 3, seed: 1 });

describe('recipe paper, widened', () => {
  const state = coupled(small(), {});
  test('one chain from stem to head, a shortcut per stream at each transition', () => {
    expect(state.chains.map((c) => c.couplings.length)).toEqual([9]);
    const moved = state.chains[0]?.couplings.filter((c) => c.carried !== c.b).map((c) => c.id);
    expect(moved).toEqual(['stage2.0', 'stage3.0']);
  });
  test('two stems, a head twice as wide, residual functions as they were', () => {
    expect(dims(state, 'conv1.weight')).toEqual([4, 3, 3, 3]);
    expect(dims(state, 'conv1.weight.second')).toEqual([4, 3, 3, 3]);
    expect(dims(state, 'bn.weight')).toEqual([32]);
    expect(dims(state, 'fc.weight')).toEqual([3, 32]);
    expect(dims(state, 'stage2.1.conv1.weight')).toEqual([8, 8, 3, 3]);
  });
  test('what keeps its shape keeps its values; the rest is drawn from the seed', () => {
    const original = small();
    const before = [...original.graph.constants].find((v) => v.name === 'stage2.1.conv1.weight');
    expect(constant(state, 'stage2.1.conv1.weight')).toEqual(before?.constant?.load().toArray());
    const again = coupled(small(), {});
    const other = coupled(small(), { seed: 1 });
    for (const name of ['conv1.weight.second', 'stage2.0.shortcut.weight.second']) {
      expect(constant(again, name)).toEqual(constant(state, name));
      expect(constant(other, name)).not.toEqual(constant(state, name));
    }
    // He: variance 2 / fan-in.
    const drawn = constant(state, 'conv1.weight.second');
    const variance = drawn.reduce((s, x) => s + x * x, 0) / drawn.length;
    expect(variance * (3 * 9)).toBeGreaterThan(1.4);
    expect(variance * (3 * 9)).toBeLessThan(2.6);
  });
  test('v1 networks read the ReLU of each stream at a transition', () => {
    const v1 = coupled(resNetV1({ depth: 20, width: 4, image: 8, classes: 3, seed: 2 }), {});
    const [chain] = v1.chains;
    const at = chain?.couplings.find((c) => c.id === 'stage2.0');
    expect(at?.a.users.some((n) => n.op === 'Relu')).toBe(true);
    expect(at?.b.users.some((n) => n.op === 'Relu')).toBe(true);
  });
});

describe('split', () => {
  const state = coupled(small(), { partition: 'split' });
  test('streams and inner widths are halved, stem and head stay', () => {
    expect(dims(state, 'conv1.weight')).toEqual([4, 3, 3, 3]);
    expect(dims(state, 'fc.weight')).toEqual([3, 16]);
    expect(dims(state, 'stage2.1.conv1.weight')).toEqual([4, 4, 3, 3]);
  });
  test('weights are contiguous halves of the originals', () => {
    const original = [...small().graph.constants].find((v) => v.name === 'stage1.0.conv2.weight');
    const whole = original?.constant?.load();
    if (!whole) throw new Error('no weight');
    // The first function adds to the first half: filters 0–1 of 4, channels 0–1 of 4.
    const want = [0, 1].flatMap((o) =>
      [0, 1].flatMap((i) => whole.toArray().slice((o * 4 + i) * 9, (o * 4 + i + 1) * 9)),
    );
    expect(constant(state, 'stage1.0.conv2.weight')).toEqual(want);
  });
  test.each(['params', 'flops'] as const)('--match %s brings it back to size', (match) => {
    const plain = parameters(coupled(small(), { recipe: 'none' }));
    const matched = parameters(coupled(small(), { partition: 'split', match }));
    expect(Math.abs(matched / plain - 1)).toBeLessThan(match === 'params' ? 0.02 : 0.1);
  });
  test('rewired: each run is split on its own, what lies between keeps its width', () => {
    const rewired = coupled(small(), { recipe: 'rewire', partition: 'split' });
    expect(rewired.chains).toHaveLength(3);
    expect(dims(rewired, 'stage2.0.conv1.weight')).toEqual([8, 4, 3, 3]);
    expect(dims(rewired, 'stage2.1.conv1.weight')).toEqual([4, 4, 3, 3]);
  });
  test('depthwise convolutions lose groups', () => {
    const net = new Net();
    const depthwise = (x: Value): Value =>
      net.op('Conv', [x, net.constant([4, 1, 3, 3])], {
        pads: ints([1, 1, 1, 1]),
        group: int(4),
      });
    const block = (x: Value): Value => net.add(x, depthwise(net.conv(x)));
    const y = block(block(net.conv(net.input())));
    net.model.graph.outputs.push(net.op('GlobalAveragePool', [net.conv(y)]));
    coupled(net.model, { partition: 'split' });
    const groups = [...net.model.graph.nodes]
      .map((n) => n.attributes.int('group', 1))
      .filter((g) => g > 1);
    expect(groups).toEqual([2, 2]);
  });
  test('an odd number of channels keeps full-width streams, and a note says so', () => {
    const odd = coupled(preResNet({ depth: 20, width: 3, image: 8, classes: 3 }), {
      partition: 'split',
    });
    expect(odd.notes.join()).toMatch(/3 channels, an odd number/);
    expect(dims(odd, 'fc.weight')).toEqual([3, 24]);
  });
  test('an input that cannot be widened is copied, and a note says so', () => {
    const net = new Net();
    const y = net.block(net.block(net.input()));
    net.model.graph.outputs.push(net.op('GlobalAveragePool', [net.conv(y)]));
    const { notes } = coupled(net.model, {});
    expect(notes.join()).toMatch(/streams start as copies, because input cannot be widened/);
  });
  test('choices that contradict it are refused', () => {
    expect(() => coupled(small(), { partition: 'split', head: 'average' })).toThrow(
      /usage\/option/,
    );
  });
});

test('single choices: the original stem and head with coupled transitions', () => {
  const state = coupled(small(), { stem: 'duplicated', head: 'average' });
  expect(state.chains.map((c) => c.couplings.length)).toEqual([9]);
  expect(dims(state, 'conv1.weight')).toEqual([4, 3, 3, 3]);
  expect(dims(state, 'fc.weight')).toEqual([3, 16]);
});

describe('batch norm that was folded away', () => {
  const folded = (): Model => {
    const model = resNetImageNet({
      layers: [2, 2],
      width: 4,
      image: 32,
      classes: 3,
      seed: 5,
      norm: 'random',
    });
    const { graph } = model;
    for (const node of [...graph.nodes]) {
      if (node.op !== 'BatchNormalization') continue;
      const conv = node.input(0).producer;
      if (conv?.op !== 'Conv') throw new Error('a batch norm behind something else');
      conv.setInput(2, node.input(2));
      graph.replaceValue(node.output(), conv.output());
      graph.removeNode(node);
    }
    graph.removeDead();
    return model;
  };
  const norms = ({ model }: CompileState): number =>
    [...model.graph.nodes].filter((n) => n.op === 'BatchNormalization').length;

  test('is put back behind every convolution, with its bias as shift', () => {
    const state = coupled(folded(), { recipe: 'rewire' });
    expect(norms(state)).toBe(1 + 4 + 4 + 1);
    expect(state.notes.join()).toMatch(/TrainingMode\.PRESERVE/);
    const convs = [...state.model.graph.nodes].filter((n) => n.op === 'Conv');
    expect(convs.every((n) => n.inputs[2] === undefined)).toBe(true);
  });
  test('computes what the folded network computed', () => {
    const outputs = [folded(), folded()].map((model, index) => {
      const { graph } = model;
      analyseModel(model, { recipe: 'none' });
      if (index === 1) restoreBatchNorm.run(createState(model, { recipe: 'rewire' }));
      const [image, result] = [graph.inputs[0], graph.outputs[0]];
      if (!image || !result) throw new Error('no input or output');
      const x = new Random(3).tensor([2, 3, 32, 32]);
      return (
        interpret(graph, new Map([[image, x]]))
          .get(result)
          ?.toArray() ?? []
      );
    });
    const [before, after] = outputs;
    expect(before?.length).toBe(6);
    after?.forEach((value, i) => expect(value).toBeCloseTo(before?.[i] ?? NaN, 5));
  });
  test('unless it is not wanted', () => {
    expect(norms(coupled(folded(), { batchNorm: 'keep' }))).toBe(0);
    expect(norms(coupled(folded(), { recipe: 'none' }))).toBe(0);
  });
  test('networks with batch norm are left as they are', () => {
    const model = small();
    const before = [...model.graph.nodes].filter((n) => n.op === 'BatchNormalization').length;
    expect(norms(coupled(model, { recipe: 'rewire' }))).toBe(before);
  });
});
