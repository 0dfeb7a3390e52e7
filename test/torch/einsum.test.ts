// Random Einsum equations, written out by the compiler, against torch.einsum: values and gradients in float64.

import fc from 'fast-check';
import { expect, test } from 'vitest';
import { createState, runPipeline } from '../../passes/index.js';
import { writeOutEinsumPass } from '../../passes/write-out-einsum.js';
import { Gradients, differentiate, requiresGradient } from '../../src/autodiff/index.js';
import { Model, string } from '../../src/ir/index.js';
import type { Tensor } from '../../src/ir/index.js';
import { Builder, Random, interpret } from '../../src/ops/index.js';
import { LIMIT, askOperators, expectEqual, plain } from './operator-compare.js';

const RUNS = 120;
const LABELS = ['a', 'b', 'c', 'd', 'e'];

interface Equation {
  readonly text: string;
  readonly shapes: readonly (readonly number[])[];
}

/** One to three operands, any labels in any order, any of them kept; perhaps axes that go unnamed. */
const equations: fc.Arbitrary<Equation> = fc
  .record({
    operands: fc.array(fc.shuffledSubarray(LABELS, { minLength: 1, maxLength: 4 }), {
      minLength: 1,
      maxLength: 3,
    }),
    extents: fc.array(fc.integer({ min: 1, max: 4 }), { minLength: 5, maxLength: 5 }),
    unnamed: fc.array(fc.integer({ min: 1, max: 3 }), { maxLength: 2 }),
    order: fc.shuffledSubarray(LABELS),
    narrow: fc.array(fc.tuple(fc.boolean(), fc.integer({ min: 0, max: 2 })), {
      minLength: 3,
      maxLength: 3,
    }),
  })
  .map(({ operands, extents, unnamed, order, narrow }) => {
    const dots = unnamed.length > 0 ? '...' : '';
    const result = order.filter((label) => operands.some((labels) => labels.includes(label)));
    return {
      text: `${operands.map((labels) => dots + labels.join('')).join(',')}->${dots}${result.join('')}`,
      // Axes that go unnamed are broadcast: 1, or not there.
      shapes: operands.map((labels, i) => [
        ...unnamed.map((d) => (narrow[i]?.[0] ? 1 : d)).slice(narrow[i]?.[1]),
        ...labels.map((label) => extents[LABELS.indexOf(label)] ?? 1),
      ]),
    };
  });

interface Ours {
  readonly request: object;
  readonly value: Tensor;
  readonly gradients: readonly Tensor[];
}

/** The equation written out, and differentiated by every operand. */
function written({ text, shapes }: Equation, index: number): Ours {
  const random = new Random(index + 1);
  const model = new Model();
  model.opsets.set('', 17);
  const { graph } = model;
  const operands = shapes.map((shape, i) => graph.addInput(`x${i}`, { dtype: 'float64', shape }));
  const node = graph.addNode({
    op: 'Einsum',
    inputs: operands,
    outputs: ['y'],
    attributes: { equation: string(text) },
  });
  graph.outputs.push(node.output());
  runPipeline([writeOutEinsumPass], createState(model));
  const y = graph.outputs[0];
  if (!y?.type) throw new Error(`${text}: no type`);
  const cotangent = graph.addInput('grad', y.type);
  const tensors = shapes.map((shape) => random.tensor(shape, 1, 0, 'float64'));
  const seed = random.tensor(y.type.shape as readonly number[], 1, 0, 'float64');
  const gradients = new Gradients();
  const b = new Builder(graph, { phase: 'backward', path: 'backward' });
  gradients.add(y, cotangent, b);
  const wanted = requiresGradient(graph, new Set(operands));
  differentiate([...graph.nodes], (value) => value, wanted, gradients, b);
  const results = operands.map((value) => {
    const gradient = gradients.get(value);
    if (!gradient) throw new Error(`${text}: no gradient by ${value.name}`);
    return gradient;
  });
  graph.sort();
  const feeds = new Map([[cotangent, seed]]);
  tensors.forEach((tensor, i) => {
    const operand = operands[i];
    if (operand) feeds.set(operand, tensor);
  });
  const found = interpret(graph, feeds, { keep: new Set([y, ...results]) });
  const read = (value: typeof y): Tensor => {
    const tensor = found.get(value);
    if (!tensor) throw new Error(`${text}: ${value.name} was not computed`);
    return tensor;
  };
  return {
    request: {
      label: text,
      torch: 'torch.einsum(a["equation"], *x)',
      inputs: tensors.map(plain),
      attributes: { equation: text },
      differentiable: operands.map((_, i) => i),
      cotangents: [plain(seed)],
    },
    value: read(y),
    gradients: results.map(read),
  };
}

test('value and gradient', () => {
  const drawn = fc.sample(equations, { seed: 20, numRuns: RUNS });
  const ours = drawn.map(written);
  const answers = askOperators(ours.map(({ request }) => request));
  expect(answers).toHaveLength(RUNS);
  ours.forEach(({ value, gradients }, i) => {
    const [equation, theirs] = [drawn[i]?.text ?? '', answers[i]];
    expectEqual([value], theirs?.results ?? [], LIMIT, `${equation}, result`);
    expectEqual(gradients, theirs?.gradients ?? [], LIMIT, `${equation}, gradient`);
  });
});
