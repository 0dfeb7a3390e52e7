// Value and gradient of every operator against PyTorch, both in float64, over random shapes, broadcasts, strides, pads,
// groups and axes. The cases of all operators go to one Python process.

import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { Tensor } from '../../src/ir/index.js';
import { allOps, evaluateNode } from '../../src/ops/index.js';
import type { OpDefinition, OpSample } from '../../src/ops/index.js';
import { gradientGraph } from '../ops/gradient-graph.js';
import { singleNode } from '../ops/support.js';
import { attributesOf } from './operator-cases.js';
import type { Line, TorchCase } from './operator-cases.js';
import { indexLines } from './operator-indices.js';
import { layoutLines } from './operator-layout.js';
import { reductionLines } from './operator-reductions.js';
import { resizeLines } from './operator-resize.js';
import { NOT_IN_TORCH, computingLines } from './operator-table.js';
import { LIMIT, askOperators, expectEqual, plain } from './operator-compare.js';

const RUNS = 30;
const SEED = 20;

const LINES: readonly Line[] = [
  ...computingLines,
  ...reductionLines,
  ...layoutLines,
  ...indexLines,
  ...resizeLines,
];

const nameOf = ({ domain, type }: OpDefinition): string => (domain ? `${domain}.${type}` : type);
const differentiableOps = allOps().filter((op) => 'gradient' in op);

interface Compared {
  readonly label: string;
  /** What Python is asked. */
  readonly request: object;
  readonly values: readonly Tensor[];
  readonly gradients: readonly Tensor[];
}

/** Our side of one case. */
function compared(op: OpDefinition, line: Line, it: TorchCase, index: number): Compared {
  const floats = it.inputs.flatMap((t, i) => (t?.dtype === 'float64' ? [i] : []));
  const operands = it.differentiable ?? floats;
  const sample: OpSample = {
    label: '',
    ...it,
    attributes: attributesOf(it),
    outputs: it.outputs ?? 1,
  };
  const { node } = singleNode(op, sample);
  const values = evaluateNode(node, it.inputs);
  const built = gradientGraph(op, sample, (i) => operands.includes(i));
  const found = built.run(operands.flatMap((i) => built.results[i] ?? []));
  const gradients = operands.map((i) => {
    const value = built.results[i];
    const own = it.inputs[i];
    const tensor = value ? found.get(value) : own && Tensor.zeros(own.dtype, own.dims);
    if (!tensor) throw new Error(`${nameOf(op)}: no gradient by operand ${i}`);
    return tensor;
  });
  const label = `${nameOf(op)} ${index}`;
  return {
    label,
    request: {
      label,
      torch: line.torch,
      inputs: it.inputs.map((t) => (t ? plain(t) : null)),
      attributes: it.attributes ?? {},
      differentiable: operands,
      cotangents: [...built.grads.values()].map(plain),
    },
    values: values.slice(0, built.grads.size),
    gradients,
  };
}

/** Every line with the indices of its cases in what Python is asked. */
const all: Compared[] = [];
const byLine = LINES.map((it) => {
  const op = differentiableOps.find(
    (o) => o.type === it.op && (o.domain ?? '') === (it.domain ?? ''),
  );
  if (!op) throw new Error(`${it.op} is no operator with a gradient`);
  const made = fc
    .sample(it.cases, { seed: SEED, numRuns: RUNS })
    .map((given, index) => compared(op, it, given, index));
  const first = all.length;
  all.push(...made);
  return { name: nameOf(op), limit: it.limit ?? LIMIT, indices: made.map((_, i) => first + i) };
});

const answers = askOperators(all.map(({ request }) => request));

describe.each(byLine)('$name', ({ limit, indices }) => {
  test('value and gradient', () => {
    for (const index of indices) {
      const [ours, theirs] = [all[index], answers[index]];
      if (!ours || !theirs) throw new Error('PyTorch gave no answer');
      expectEqual(ours.values, theirs.results, limit, `${ours.label}, result`);
      expectEqual(ours.gradients, theirs.gradients, limit, `${ours.label}, gradient`);
    }
  });
});

test('every operator with a gradient is compared, or has a reason why not', () => {
  const compared = new Set(byLine.map(({ name }) => name));
  const left = differentiableOps
    .map(nameOf)
    .filter((name) => !compared.has(name) && !NOT_IN_TORCH.has(name));
  expect(left).toEqual([]);
  for (const name of NOT_IN_TORCH.keys()) expect(compared).not.toContain(name);
});
