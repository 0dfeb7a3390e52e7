// What lies in blocks around a convolution and what does not, where it is converted, and that no value changes.

import { describe, expect, test } from 'vitest';
import { BLOCK_SIZES, NCHWC, Tensor, int, ints } from '../../src/ir/index.js';
import type { Attribute, Value } from '../../src/ir/index.js';
import { checkTokens } from '../../src/schedule/index.js';
import { Scene } from './blocked-scene.js';

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
