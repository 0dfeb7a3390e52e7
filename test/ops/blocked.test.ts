// The reference of ONNX Runtime's blocked operators against its kernels. In: operands in blocks of this CPU's size. Out: a
// failed expectation where the inferred type, the reference and the kernel are not of one mind. Invariant: the block size
// is an attribute for the reference alone; no file has it.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { probeBlock } from '../../runtime/device/index.js';
import { Attributes, BLOCK_SIZES, NCHWC, int, ints, string } from '../../src/ir/index.js';
import type { Attribute, Tensor } from '../../src/ir/index.js';
import { encodeModel } from '../../src/onnx/index.js';
import { Random, blockAttribute, evaluateNode, unblock } from '../../src/ops/index.js';
import { difference, runOrt, singleNode } from './support.js';
import type { SingleNode } from './support.js';

const probed = await probeBlock();
/** The block size of the kernels here. */
const B = probed ?? 8;

/** Rounding of sums of a few hundred products in float32. */
const LIMIT = 1e-5;

type Given = Readonly<Record<string, Attribute | undefined>>;

function blockedNode(
  type: string,
  inputs: readonly (Tensor | undefined)[],
  given: Given = {},
  block: number = B,
): SingleNode {
  const attributes = new Attributes(blockAttribute(block)).with(given);
  const single = singleNode({ type, domain: NCHWC }, { label: type, inputs, attributes });
  single.model.opsets.set(NCHWC, 1);
  return single;
}

interface Results {
  readonly reference: Tensor;
  readonly ort: Tensor;
}

async function bothOf(
  type: string,
  inputs: readonly (Tensor | undefined)[],
  given: Given = {},
  block: number = B,
): Promise<Results> {
  const { model, node, feeds } = blockedNode(type, inputs, given, block);
  const [reference] = evaluateNode(node, inputs);
  const [ort] = await runOrt(model, feeds);
  if (!reference || !ort) throw new Error(`${type} has no result`);
  expect(node.output().type).toEqual({ dtype: reference.dtype, shape: reference.dims });
  expect(ort.dims).toEqual(reference.dims);
  return { reference, ort };
}

test('the kernels here have a block size', () => expect(BLOCK_SIZES).toContain(probed));

// ---- reordering

const SHAPES: readonly (readonly number[])[] = [
  [1, B, 1, 1],
  [1, B, 3, 4],
  [2, 2 * B, 5, 3],
  [3, 3 * B, 1, 7],
  [1, 4 * B, 6, 1],
];

describe.each(SHAPES.map((dims) => [dims] as const))('a map %j', (dims) => {
  const x = new Random(3).tensor(dims);

  test('ReorderInput lays it out as the kernel does', async () => {
    const { reference, ort } = await bothOf('ReorderInput', [x]);
    expect(reference.data).toEqual(ort.data);
    if ((dims[2] ?? 0) * (dims[3] ?? 0) > 1) expect(reference.data).not.toEqual(x.data);
  });

  test('ReorderOutput and unblock() take it back', async () => {
    const { reference: blocked } = await bothOf('ReorderInput', [x]);
    const channels = int(dims[1] ?? 0);
    const { reference, ort } = await bothOf('ReorderOutput', [blocked], { channels });
    expect(ort.data).toEqual(x.data);
    expect(reference.data).toEqual(x.data);
    expect(unblock(blocked.data, dims, B)).toEqual(x.data);
    expect(unblock(Float32Array.from(blocked.data), dims, B)).toEqual(Float32Array.from(x.data));
  });

  test('ReorderOutput reads any elements as the kernel does', async () => {
    const { reference, ort } = await bothOf('ReorderOutput', [x], { channels: int(dims[1] ?? 0) });
    expect(reference.data).toEqual(ort.data);
    expect(unblock(x.data, dims, B)).toEqual(ort.data);
  });

  test('GlobalAveragePool', async () => {
    const { reference, ort } = await bothOf('GlobalAveragePool', [x]);
    expect(reference.dims).toEqual([dims[0], dims[1], 1, 1]);
    expect(difference(ort, reference)).toBeLessThan(LIMIT);
  });
});

// ---- convolution

interface ConvSample {
  readonly x: readonly number[];
  /** Extents of the plain weight; its elements lie as the kernel reads them. */
  readonly w: readonly number[];
  readonly group?: number;
  readonly strides?: readonly number[];
  readonly dilations?: readonly number[];
  readonly pads?: readonly number[];
  readonly bias?: boolean;
  readonly sum?: boolean;
  readonly relu?: boolean;
}

const given = (sample: ConvSample): Given => ({
  kernel_shape: ints(sample.w.slice(2)),
  group: int(sample.group ?? 1),
  strides: sample.strides && ints(sample.strides),
  dilations: sample.dilations && ints(sample.dilations),
  pads: sample.pads && ints(sample.pads),
  activation: sample.relu ? string('Relu') : undefined,
});

/** X, W, bias and sum. */
function operandsOf(sample: ConvSample, seed = 5): (Tensor | undefined)[] {
  const random = new Random(seed);
  const [x, w] = [random.tensor(sample.x), random.tensor(sample.w)];
  const bias = sample.bias ? random.tensor(sample.w.slice(0, 1), 3) : undefined;
  if (!sample.sum) return bias ? [x, w, bias] : [x, w];
  const dims = blockedNode('Conv', [x, w], given(sample)).node.output().shape ?? [];
  return [x, w, bias, random.tensor(dims.map(Number), 3)];
}

async function convError(sample: ConvSample, block?: number): Promise<number> {
  const { reference, ort } = await bothOf('Conv', operandsOf(sample), given(sample), block);
  if (sample.relu) expect(Math.min(...reference.data)).toBe(0);
  return difference(ort, reference);
}

const map = { x: [2, 2 * B, 6, 5], w: [3 * B, 2 * B, 3, 3], pads: [1, 1, 1, 1] };

const SAMPLES: Readonly<Record<string, ConvSample>> = {
  '3x3': { ...map, x: [2, B, 6, 5], w: [B, B, 3, 3] },
  'several blocks in and out': map,
  '1x1': { x: [2, 2 * B, 3, 5], w: [3 * B, 2 * B, 1, 1] },
  '1x1, stride 2': { x: [1, B, 6, 5], w: [2 * B, B, 1, 1], strides: [2, 2] },
  '1x1 with pads': { ...map, w: [B, 2 * B, 1, 1] },
  'stride 2': { ...map, strides: [2, 2] },
  'stride 2 by 1': { ...map, strides: [2, 1] },
  'dilation 2': { ...map, x: [1, B, 8, 9], w: [B, B, 3, 3], dilations: [2, 2], pads: [2, 2, 2, 2] },
  'dilation 2 by 3, without pads': { x: [1, B, 6, 9], w: [B, B, 2, 3], dilations: [2, 3] },
  'asymmetric pads': { ...map, w: [B, 2 * B, 3, 2], pads: [0, 1, 2, 0] },
  depthwise: { ...map, w: [2 * B, 1, 3, 3], group: 2 * B },
  'depthwise, all else': {
    ...map,
    w: [2 * B, 1, 3, 2],
    ...{ group: 2 * B, strides: [2, 1], pads: [1, 0, 1, 1], bias: true, sum: true, relu: true },
  },
  'depthwise, 1x1, with bias and sum': {
    ...{ x: [2, 2 * B, 6, 5], w: [2 * B, 1, 1, 1], group: 2 * B },
    ...{ bias: true, sum: true },
  },
  'depthwise, a dot product per image and channel': {
    ...{ x: [1, 6 * B, 6, 5], w: [6 * B, 1, 6, 5], group: 6 * B },
  },
  'with bias': { ...map, bias: true },
  'with sum': { ...map, sum: true },
  'with bias and sum': { ...map, bias: true, sum: true },
  'with Relu': { ...map, relu: true },
  'with all': { ...map, bias: true, sum: true, relu: true },
  '1x1 with all': {
    ...map,
    w: [B, 2 * B, 1, 1],
    pads: [0, 0, 0, 0],
    bias: true,
    sum: true,
    relu: true,
  },
};

describe('Conv', () => {
  test.each(Object.entries(SAMPLES))('%s', async (_, sample) => {
    expect(await convError(sample)).toBeLessThan(LIMIT);
  });

  test.each(['3x3', '1x1', 'depthwise'])(
    '%s: blocks of another size are not what the kernel reads',
    async (name) => {
      const sample = SAMPLES[name] ?? expect.fail();
      // Twice the channels, so that both sizes divide them.
      const [batch = 0, channels = 0, ...plane] = sample.x;
      const [filters = 0, per = 0, ...kernel] = sample.w;
      const twice = {
        ...sample,
        x: [batch, 2 * channels, ...plane],
        w: [2 * filters, per === 1 ? 1 : 2 * per, ...kernel],
        group: per === 1 ? 2 * channels : 1,
      };
      expect(await convError(twice)).toBeLessThan(LIMIT);
      expect(await convError(twice, B === 8 ? 16 : 8)).toBeGreaterThan(0.1);
    },
  );

  const pair = (min: number, max: number): fc.Arbitrary<[number, number]> =>
    fc.tuple(fc.integer({ min, max }), fc.integer({ min, max }));

  const random: fc.Arbitrary<ConvSample> = fc
    .record({
      kernel: pair(1, 4),
      dilations: pair(1, 2),
      strides: pair(1, 3),
      more: pair(0, 4),
      begin: pair(0, 3),
      end: pair(0, 3),
      batch: fc.integer({ min: 1, max: 2 }),
      kind: fc.constantFrom('all channels', 'depthwise'),
      channels: fc.integer({ min: 1, max: 3 }),
      filters: fc.integer({ min: 1, max: 5 }),
      flags: fc.record({ bias: fc.boolean(), sum: fc.boolean() }),
    })
    .map(({ kernel, dilations, strides, begin, end, flags, kind, ...sizes }) => {
      const count = sizes.channels * B;
      const plane = kernel.map((k, i) => (k - 1) * (dilations[i] ?? 1) + 1 + (sizes.more[i] ?? 0));
      return {
        x: [sizes.batch, count, ...plane],
        w: kind === 'depthwise' ? [count, 1, ...kernel] : [sizes.filters * B, count, ...kernel],
        group: kind === 'depthwise' ? count : 1,
        ...{ strides, dilations, ...flags },
        pads: [...begin, ...end],
      };
    });

  test('random windows', async () => {
    await fc.assert(
      fc.asyncProperty(random, async (sample) => {
        expect(await convError(sample)).toBeLessThan(LIMIT);
      }),
      { numRuns: 100, seed: 11 },
    );
  });
});

// ---- files

test.each(['ReorderInput', 'ReorderOutput', 'GlobalAveragePool', 'Conv'])(
  'the block size is not written: %s',
  (type) => {
    const sample = SAMPLES['with all'] ?? expect.fail();
    const inputs = operandsOf(sample).slice(0, type === 'Conv' ? 4 : 1);
    const { model, node } = blockedNode(type, inputs, type === 'Conv' ? given(sample) : {});
    const own = 'revnetify.block';
    expect(node.attributes.int(own)).toBe(B);
    const bytes = Buffer.from(encodeModel(model).bytes);
    expect(bytes.includes(type)).toBe(true);
    expect(bytes.includes('activation')).toBe(type === 'Conv');
    expect(bytes.includes(own)).toBe(false);
  },
);
