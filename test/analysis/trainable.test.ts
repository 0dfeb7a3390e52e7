// Models that are refused as a whole: quantized ones, and graphs that train already.

import { describe, expect, test } from 'vitest';
import { fixtures } from '../../fixtures/build.js';
import type { Model, Node } from '../../src/ir/index.js';
import { whyUnsuitable } from '../../src/analysis/index.js';
import { analyseModel, compile } from '../../src/compiler/index.js';
import { cloneModel } from '../../src/ir/index.js';
import { Net } from './net.js';

/** A block, and an operator of the given name behind it. */
function withOperator(op: string, domain = ''): Model {
  const net = new Net();
  const x = net.block(net.input());
  const node: Node = net.model.graph.addNode({
    op,
    domain,
    name: 'last',
    inputs: [x],
    outputs: ['y'],
  });
  net.model.graph.outputs.push(node.output());
  return net.model;
}

describe('quantized', () => {
  test.each([
    ['QuantizeLinear', ''],
    ['DequantizeLinear', ''],
    ['DynamicQuantizeLinear', ''],
    ['QLinearConv', ''],
    ['ConvInteger', ''],
    ['MatMulInteger', ''],
    ['QLinearAdd', 'com.microsoft'],
    ['QAttention', 'com.microsoft'],
    ['DynamicQuantizeMatMul', 'com.microsoft'],
    ['MatMulNBits', 'com.microsoft'],
  ])('%s %s', (op, domain) => {
    expect(whyUnsuitable(withOperator(op, domain))).toMatchObject({
      code: 'model/quantized',
      where: `node last (${op})`,
    });
    expect(() => analyseModel(withOperator(op, domain))).toThrow(
      expect.objectContaining({ code: 'model/quantized', exitCode: 3 }) as Error,
    );
  });
  test('not an operator of that name in a domain of its own', () => {
    expect(whyUnsuitable(withOperator('QuantizeLinear', 'my.own'))).toBeUndefined();
  });
});

describe('training already', () => {
  test.each([
    ['ConvGrad', 'com.microsoft'],
    ['ReluGrad', 'com.microsoft'],
    ['ConvGradient', ''],
    ['SGDOptimizerV2', 'com.microsoft'],
    ['Momentum', 'ai.onnx.preview.training'],
  ])('%s %s', (op, domain) => {
    expect(whyUnsuitable(withOperator(op, domain))).toMatchObject({
      code: 'model/training',
      where: `node last (${op})`,
    });
  });

  const step = (): Model => {
    const make = fixtures['resnet20.onnx'];
    if (!make) throw new Error('no such fixture');
    return cloneModel(compile(make(), { name: 'net', source: 'net.onnx', batch: 2 }).train).model;
  };
  test('a step of our own, by what it is and by what it says', () => {
    const train = step();
    train.metadata.set('revnetify.step', 'paper, reverse, batch 2');
    expect(whyUnsuitable(train)).toMatchObject({ where: 'its metadata, revnetify.step' });
    train.metadata.clear();
    expect(whyUnsuitable(train)).toMatchObject({
      code: 'model/training',
      why: expect.stringMatching(/^it is the new value of the weight /) as string,
    });
  });

  test('an input minus something is no weight', () => {
    const net = new Net();
    const x = net.input();
    const y = net.op('Sub', [x, net.conv(x)]);
    net.model.graph.outputs.push(y);
    expect(whyUnsuitable(net.model)).toBeUndefined();
  });

  test.each(Object.keys(fixtures))('%s is none', (name) => {
    const model = fixtures[name]?.();
    expect(model && whyUnsuitable(model)).toBeUndefined();
  });
});
