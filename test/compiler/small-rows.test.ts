// A class token that is much smaller than the patches beside it, as networks have it before training. In: a Vision
// Transformer. Out: gradients as exact as float32 allows, which they are not where the first stream is rebuilt.

import { expect, test } from 'vitest';
import { visionTransformer } from '../../fixtures/transformers.js';
import type { Model, Value } from '../../src/ir/index.js';
import { InlineData, Tensor } from '../../src/ir/index.js';
import { compile } from '../../src/compiler/index.js';
import { verifyModel } from '../../src/verify/index.js';

const WIDTH = 32;

/** The row of the class token, 2e-4 of its usual size. */
function withSmallToken(): Model {
  const model = visionTransformer({
    depth: 6,
    width: WIDTH,
    heads: 2,
    patch: 8,
    image: 32,
    seed: 2,
  });
  const shrink = (name: string, count: number): void => {
    const value: Value | undefined = [...model.graph.constants].find((v) => v.name === name);
    const tensor = value?.constant?.load();
    if (!value || !tensor) throw new Error(`no ${name}`);
    const data = Float32Array.from(tensor.toArray(), (x, i) => (i < count ? 2e-4 * x : x));
    value.constant = new InlineData(Tensor.of('float32', tensor.dims, [...data]));
  };
  shrink('class_token', WIDTH);
  shrink('encoder.pos_embedding', WIDTH);
  return model;
}

test('its gradient is exact', async () => {
  const { rev, state } = compile(withSmallToken(), { name: 'vit', source: 'vit', batch: 2 });
  const { gradient, noise, passed } = await verifyModel(rev, state.chains, state.settings, {
    batch: 2,
    float64Flops: 0,
  });
  expect(passed).toBe(true);
  expect(gradient.relL2).toBeLessThan(10 * noise.relL2);
});
