// The same steps in ONNX Runtime with all its optimizations. Narrow on purpose: of constants with up to 8 elements it
// makes one where they are equal, which is no harm unless a kernel writes over them.

import { describe, expect, test } from 'vitest';
import { compareGradients, constantsByName, exposeStep } from '../../src/verify/index.js';
import { runOnce } from '../../src/verify/run.js';
import { FORMS, NETWORKS, build, couple, evaluate } from './support.js';

const SEED = 6;

const CASES = Object.entries(NETWORKS).flatMap(([name, make]) =>
  FORMS.map((form) => ({ name, make, ...form })),
);

describe.each(CASES)('$name, $recipe $partition', ({ make, recipe, partition, match }) => {
  const coupled = couple(make(), { recipe, partition, match, seed: 3 });
  test.each(['cpu', 'portable'] as const)('%s: gradients as in float64', async (target) => {
    const step = build(coupled, { policy: 'reverse', target });
    const exact = evaluate(step, constantsByName(coupled.rev), SEED);
    const probe = exposeStep(step.state);
    const results = await runOnce(step.state.model, exact.feeds, [...probe.gradients.values()]);
    const gradients = new Map([...probe.gradients].map(([n, v]) => [n, results.get(v) ?? []]));
    const { relL2, medianTensor } = compareGradients(gradients, exact.gradients);
    expect(relL2).toBeLessThanOrEqual(1e-3);
    expect(medianTensor).toBeLessThanOrEqual(1e-4);
  });
});
