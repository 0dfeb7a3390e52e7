// Lowerings of the convolution gradients: every form on every small convolution it applies to, and the
// chosen form through applyLowering, against the definition: in float64 exactly, in ONNX Runtime to float32.

import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { describe, expect, test } from 'vitest';
import { Model, Tensor } from '../../src/ir/index.js';
import type { Value } from '../../src/ir/index.js';
import { Steps, chooseForm } from '../../src/lowering/conv-form.js';
import type { ConvForm } from '../../src/lowering/conv-form.js';
import { WEIGHT_FORMS } from '../../src/lowering/conv-weight.js';
import { INPUT_FORMS } from '../../src/lowering/conv.js';
import { applyLowering, findLowering } from '../../src/lowering/index.js';
import type { Target } from '../../src/lowering/index.js';
import { encodeModel } from '../../src/onnx/index.js';
import { CONV_CASES, caseGeometry } from '../../src/ops/conv-cases.js';
import type { ConvCase } from '../../src/ops/conv-cases.js';
import { gradAttributes } from '../../src/ops/conv-gradient.js';
import { Builder, Random, WORKING_OPSET, evaluateNode, interpret } from '../../src/ops/index.js';

type Kind = 'ConvGradInput' | 'ConvGradWeight';
const KINDS: readonly Kind[] = ['ConvGradInput', 'ConvGradWeight'];
const TARGETS: readonly Target[] = ['cpu', 'portable'];
const formsOf = (kind: Kind): readonly ConvForm[] =>
  kind === 'ConvGradInput' ? INPUT_FORMS : WEIGHT_FORMS;

interface Step {
  readonly model: Model;
  readonly operands: readonly [Value, Value];
  readonly tensors: readonly [Tensor, Tensor];
  readonly expected: Tensor;
}

/** A graph with one gradient step, replaced by the given form or by the target's choice. */
function lowered(kind: Kind, c: ConvCase, how: ConvForm | Target): Step {
  const g = caseGeometry(c);
  const random = new Random(c.label.length);
  const first = random.tensor(kind === 'ConvGradInput' ? c.w : c.x);
  const dY = random.tensor([g.batch, g.outChannels, ...g.output]);
  const model = new Model();
  model.opsets.set('', WORKING_OPSET);
  const { graph } = model;
  const operands = [
    graph.addInput('first', { dtype: 'float32', shape: first.dims }),
    graph.addInput('dY', { dtype: 'float32', shape: dY.dims }),
  ] as const;
  const b = new Builder(graph, { phase: 'backward', path: 'backward' });
  const shape = kind === 'ConvGradInput' ? c.x : c.w;
  const attributes = gradAttributes(kind, g, g.group, shape);
  const node = b.node(`revnetify.${kind}`, operands, { attributes });
  const [expected] = evaluateNode(node, [first, dY]);
  if (!expected) throw new Error('no result');
  expect(expected.dims).toEqual(shape);
  if (typeof how === 'string') {
    graph.outputs.push(node.output());
    const rule = findLowering(node, how);
    if (!rule) throw new Error(`no lowering of ${kind} for ${how}`);
    applyLowering(graph, node, rule, b);
  } else {
    graph.removeNode(node);
    graph.outputs.push(how.build(new Steps(b), g, ...operands));
  }
  graph.sort();
  expect(graph.outputs[0]?.shape).toEqual(expected.dims);
  return { model, operands, tensors: [first, dY], expected };
}

/** Largest difference, relative to the largest element. */
function difference(actual: ArrayLike<number>, expected: Float64Array): number {
  expect(actual.length).toBe(expected.length);
  const scale = expected.reduce((most, v) => Math.max(most, Math.abs(v)), 1e-30);
  return (
    expected.reduce((most, v, i) => Math.max(most, Math.abs((actual[i] ?? NaN) - v)), 0) / scale
  );
}

function inDouble(step: Step): number {
  const feeds = new Map(
    step.operands.map((v, i) => [v, step.tensors[i] ?? step.tensors[0]] as const),
  );
  const { graph } = step.model;
  const [result] = [...interpret(graph, feeds).values()];
  if (!result) throw new Error('no result');
  return difference(result.data, step.expected.data);
}

async function inOnnxRuntime(step: Step): Promise<number> {
  const session = await InferenceSession.create(encodeModel(step.model).bytes, {
    intraOpNumThreads: 1,
    logSeverityLevel: 3,
  });
  const feeds = Object.fromEntries(
    step.tensors.map((t, i) => [
      step.operands[i]?.name ?? '',
      new OrtTensor('float32', Float32Array.from(t.data), t.dims),
    ]),
  );
  const result = Object.values(await session.run(feeds))[0];
  await session.release();
  expect(result?.dims).toEqual(step.expected.dims);
  return difference(result?.data as Float32Array, step.expected.data);
}

describe.each(KINDS)('%s', (kind) => {
  const cases = CONV_CASES.flatMap((c) =>
    formsOf(kind)
      .filter((form) => form.applies(caseGeometry(c)))
      .map((form) => [form.name, c.label, form, c] as const),
  );

  test.each(cases)('form %s: %s', async (_, _label, form, c) => {
    const step = lowered(kind, c, form);
    expect(inDouble(step)).toBeLessThan(1e-11);

    expect(await inOnnxRuntime(step)).toBeLessThan(1e-5);
  });

  test.each(TARGETS.flatMap((target) => CONV_CASES.map((c) => [target, c.label, c] as const)))(
    'target %s: %s',
    (target, _, c) => {
      const step = lowered(kind, c, target);
      expect(inDouble(step)).toBeLessThan(1e-11);
      for (const node of step.model.graph.nodes) {
        expect(node.domain).toBe('');
        if (target === 'portable') expect(PORTABLE).toContain(node.op);
      }
    },
  );

  test('every form is tested, and the portable target has one for every case', () => {
    expect(new Set(cases.map(([name]) => name))).toEqual(new Set(formsOf(kind).map((f) => f.name)));
    for (const c of CONV_CASES)
      expect(chooseForm(formsOf(kind), 'portable', caseGeometry(c)).estimate).toBeDefined();
  });
});

test('the forms chosen for the layers of residual networks', () => {
  const chosen = (
    kind: Kind,
    target: Target,
    [batch, from, map, to, k, stride = 1, group = 1]: readonly number[],
  ): string => {
    const [n = 0, ci = 0, h = 0, co = 0, kernel = 0] = [batch, from, map, to, k];
    const pad = (kernel - 1) / 2;
    const g = caseGeometry({
      label: '',
      x: [n, ci, h, h],
      w: [co, ci / group, kernel, kernel],
      group,
      strides: [stride, stride],
      pads: [pad, pad, pad, pad],
    });
    return chooseForm(formsOf(kind), target, g).name;
  };
  // [batch, channels in, map, channels out, kernel, stride, group]; on the CPU those that measurements tell apart clearly.
  expect(chosen('ConvGradInput', 'cpu', [128, 16, 32, 16, 3])).toBe('flipped');
  expect(chosen('ConvGradInput', 'cpu', [8, 64, 56, 64, 3])).toBe('flipped');
  // Reversing a large weight takes longer than one image does.
  expect(chosen('ConvGradInput', 'cpu', [1, 512, 7, 512, 3])).toBe('transposed');
  expect(chosen('ConvGradInput', 'portable', [8, 512, 7, 512, 3])).toBe('flipped');
  expect(chosen('ConvGradInput', 'cpu', [128, 16, 32, 32, 3, 2])).toBe('transposed');
  for (const layer of [
    [128, 3, 32, 16, 3],
    [128, 16, 32, 16, 3],
    [128, 32, 16, 64, 3, 2],
    [8, 64, 56, 64, 3],
    [8, 512, 7, 512, 3],
    [8, 3, 224, 64, 7, 2],
    [8, 128, 56, 128, 3, 1, 32],
  ])
    expect(chosen('ConvGradWeight', 'cpu', layer)).toBe('rows');
  expect(chosen('ConvGradWeight', 'cpu', [8, 256, 56, 64, 1])).toBe('pointwise');
  expect(chosen('ConvGradWeight', 'cpu', [16, 64, 56, 64, 1])).toBe('pointwise');
  // One product over all images, in one layout or the other.
  expect(chosen('ConvGradWeight', 'cpu', [8, 512, 7, 2048, 1])).toMatch(/-joined$/);
  expect(chosen('ConvGradWeight', 'cpu', [8, 96, 112, 96, 3, 2, 96])).toBe('per-channel');
  expect(chosen('ConvGradWeight', 'portable', [8, 96, 56, 96, 3, 1, 96])).toBe('per-channel-taps');
  expect(chosen('ConvGradWeight', 'portable', [8, 64, 56, 64, 3])).toBe('taps');
  expect(chosen('ConvGradWeight', 'portable', [8, 512, 7, 512, 3])).toBe('taps-joined');
});

/** What ONNX Runtime's WebGPU provider runs in float32. */
const PORTABLE = [
  'Add',
  'Concat',
  'Conv',
  'ConvTranspose',
  'Gemm',
  'MatMul',
  'Mul',
  'Pad',
  'ReduceSum',
  'Reshape',
  'Slice',
  'Transpose',
];
