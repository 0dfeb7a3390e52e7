// One suite for every operator, made from its samples. For each: inferred types against computed ones, also
// with symbolic extents; the reference against ONNX Runtime; the gradient against finite differences.
//
// Tolerances. ONNX Runtime computes in float32 (eps 6e-8) sums of at most a few hundred products, so 1e-5 of
// the largest element is some ten times the rounding and far below any wrong index, which costs order 1.
// Central differences with h = 1e-4 in float64 err by h²·f‴/6 + eps/h ≈ 1e-9: 1e-6 leaves room for curvature.

import { describe, expect, test } from 'vitest';
import { DiagnosticError } from '../../src/diagnostics/index.js';
import { NCHWC, Tensor, elementCount, isFloat } from '../../src/ir/index.js';
import type { Dim, Shape, Value } from '../../src/ir/index.js';
import {
  Builder,
  RANDOM_SOURCES,
  Random,
  allOps,
  evaluateNode,
  inferContext,
  inferNode,
  interpret,
  multiplyDims,
} from '../../src/ops/index.js';
import type { OpDefinition, OpSample } from '../../src/ops/index.js';
import { gradientGraph } from './gradient-graph.js';
import { difference, runOrt, singleNode } from './support.js';

/** Samples whose gradient is refused on purpose. */
const REFUSED = new Set(['BatchNormalization: training mode']);
const STEP = 1e-4;
/** Elements per operand that are compared with finite differences. */
const PROBES = 40;

const nameOf = (op: OpDefinition): string => (op.domain ? `${op.domain}.${op.type}` : op.type);

// ---- types

/** The extent that a symbol like "4*s3" stands for; undefined for fresh symbols. */
function extentOf(dim: Dim): number | undefined {
  if (typeof dim === 'number') return dim;
  const factors = dim.split('*').map((f) => Number(/^s?(\d+)$/.exec(f)?.[1] ?? NaN));
  const product = factors.reduce((a, b) => a * b, 1);
  return Number.isNaN(product) ? undefined : product;
}

/** Every extent above 1 of the fed operands replaced by a symbol: equal extents share one. */
function checkSymbolic(op: OpDefinition, sample: OpSample, results: readonly Tensor[]): void {
  const { node, feeds } = singleNode(op, sample);
  for (const [value, tensor] of feeds)
    value.type = {
      dtype: tensor.dtype,
      shape: tensor.dims.map((d) => (d > 1 ? `s${d}` : d)),
    };
  for (const value of node.outputs) if (value) value.type = undefined;
  try {
    inferNode(node);
  } catch (error) {
    // Refusing is allowed, lying is not.
    expect(error).toBeInstanceOf(DiagnosticError);
    return;
  }
  node.outputs.forEach((value, i) => {
    const shape: Shape | undefined = value?.type?.shape;
    if (!shape) return;
    expect(shape.length).toBe(results[i]?.dims.length);
    const claimed = shape.map((d, axis) => extentOf(d) ?? results[i]?.dims[axis]);
    expect(claimed).toEqual(results[i]?.dims);
    for (const d of shape) expect(multiplyDims([d])).toBe(d);
  });
}

// ---- gradients

/** Σ cotangent·output, in float64. */
function loss(
  op: OpDefinition,
  sample: OpSample,
  inputs: readonly (Tensor | undefined)[],
  grads: ReadonlyMap<number, Tensor>,
): number {
  const { node } = singleNode(op, sample);
  const outputs = evaluateNode(node, inputs);
  let total = 0;
  for (const [i, grad] of grads)
    grad.data.forEach((g, k) => (total += g * (outputs[i]?.data[k] ?? NaN)));
  return total;
}

function checkGradient(op: OpDefinition, sample: OpSample): void {
  const operands =
    sample.differentiable ?? sample.inputs.flatMap((t, i) => (t && isFloat(t.dtype) ? [i] : []));
  const all = gradientGraph(op, sample, (i) => operands.includes(i));
  const values = all.run(all.results.flatMap((v) => v ?? []));
  const random = new Random(7);
  for (const index of operands) {
    const x = sample.inputs[index];
    const value = all.results[index];
    if (!x) continue;
    const built = value ? values.get(value) : Tensor.zeros(x.dtype, x.dims);
    expect(built?.dims, `shape of the gradient by operand ${index}`).toEqual(x.dims);
    if (value) expect(value.type).toEqual({ dtype: x.dtype, shape: x.dims });
    const scale = built?.data.reduce((m, v) => Math.max(m, Math.abs(v)), 1e-2) ?? 1;
    const probes =
      x.size <= PROBES
        ? Array.from({ length: x.size }, (_, k) => k)
        : Array.from({ length: PROBES }, () => random.integer(0, x.size - 1));
    for (const k of probes) {
      const shifted = (h: number): number => {
        const data = x.data.slice();
        data[k] = (data[k] ?? 0) + h;
        const moved = sample.inputs.map((t, i) =>
          i === index ? new Tensor(x.dtype, x.dims, data) : t,
        );
        return loss(op, sample, moved, all.grads);
      };
      const expected = (shifted(STEP) - shifted(-STEP)) / (2 * STEP);
      const error = Math.abs((built?.data[k] ?? NaN) - expected) / scale;
      expect(error, `operand ${index}, element ${k}`).toBeLessThan(1e-6);
    }
    // Asked for alone it must be the same, and nothing else may be built.
    if (operands.length < 2) continue;
    const alone = gradientGraph(op, sample, (i) => i === index);
    alone.results.forEach((v, i) => {
      if (i !== index) expect(v, `operand ${i} is not wanted`).toBeUndefined();
    });
    const own = alone.results[index];
    if (own && built)
      expect(difference(alone.run([own]).get(own) ?? built, built)).toBeLessThan(1e-12);
  }
}

// ---- waiting for the token

/** A guarded node computes what it did, and reads the token. */
function checkGuard(op: OpDefinition, sample: OpSample, results: readonly Tensor[]): void {
  const { graph, node, feeds } = singleNode(op, sample);
  const token = graph.addInput('token', { dtype: 'float32', shape: [] });
  feeds.set(token, Tensor.scalar(0));
  op.guard?.(node, token, new Builder(graph, { phase: 'recompute', path: 'recompute' }));
  graph.sort();
  const reads = (value: Value | undefined): boolean =>
    value === token || (value?.producer?.inputs.some(reads) ?? false);
  expect(node.inputs.some(reads)).toBe(true);
  const again = interpret(graph, feeds);
  node.outputs.forEach((value, i) => {
    const result = value && again.get(value);
    const before = results[i];
    if (result && before) expect(difference(result, before)).toBeLessThan(1e-12);
  });
}

// ---- the suite

describe.each(allOps().filter((op) => !!op.samples))('$type', (op) => {
  const samples = op.samples?.(new Random(1)) ?? [];

  test.each(samples.map((s) => [s.label, s] as const))('%s: types', (_, sample) => {
    const { node, model } = singleNode(op, sample);
    const results = evaluateNode(node, sample.inputs);
    node.outputs.forEach((value, i) => {
      const result = results[i];
      expect(value?.type).toEqual(result && { dtype: result.dtype, shape: result.dims });
      expect(result?.size).toBe(elementCount(result?.dims ?? []));
    });
    const content = op.propagate?.(inferContext(node));
    if (content) expect(content).toEqual(results[0]?.toArray());
    if (op.keepsShape) expect(node.output().shape).toEqual(sample.inputs[0]?.dims);
    const flops = op.flops?.(inferContext(node)) ?? 0;
    expect(Number.isFinite(flops) && flops >= 0).toBe(true);
    expect(model.graph.outputs.length).toBe(sample.outputs ?? 1);
    checkSymbolic(op, sample, results);
    if (op.guard && sample.inputs[0]?.dtype === 'float32') checkGuard(op, sample, results);
  });

  if (!op.domain)
    test.each(samples.map((s) => [s.label, s] as const))(
      '%s: agrees with ONNX Runtime',
      async (_, sample) => {
        const { node, model, feeds } = singleNode(op, sample);
        const expected = evaluateNode(node, sample.inputs);
        const actual = await runOrt(model, feeds);
        node.outputs.forEach((_, i) => {
          const [want, got] = [expected[i], actual[i]];
          if (!want) throw new Error(`output ${i} was not computed`);
          expect(got?.dims).toEqual(want.dims);
          expect(got?.dtype).toBe(want.dtype);
          if (got) expect(difference(got, want)).toBeLessThan(1e-5);
        });
      },
    );

  if (op.gradient)
    test.each(samples.map((s) => [s.label, s] as const))('%s: gradient', (_, sample) => {
      if (REFUSED.has(`${op.type}: ${sample.label}`))
        expect(() => gradientGraph(op, sample, () => true)).toThrow('op/no-gradient');
      else checkGradient(op, sample);
    });

  test('says whether a gradient flows', () => {
    expect(!(op.gradient && op.nonDifferentiable), nameOf(op)).toBe(true);
  });
});

test('operators without samples are those that draw at random, or work in the blocks of one CPU (blocked.test.ts)', () => {
  const untested = allOps().filter(
    (op) => !op.samples && !RANDOM_SOURCES.has(op.type) && op.domain !== NCHWC,
  );
  expect(untested.map(nameOf)).toEqual([]);
});
