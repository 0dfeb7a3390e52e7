// The PyTorch package of a network against its step graph: loss, gradients, running statistics. In float64 by the
// reference interpreter, to the last digits; every way of keeping activations gives the same.

import { expect, test } from 'vitest';
import { constantsByName, maxDistance } from '../../src/verify/index.js';
import { FORMS, NETWORKS, evaluate } from '../autodiff/support.js';
import { worstTensor } from './distance.js';
import { byName, packageOf, runPackage, stepOf } from './package.js';
import { withFolder } from './python.js';

const MODES = ['reversible', 'checkpoint', 'stored'] as const;
const LIMIT = 1e-9;
/** F.gelu takes the square root of 2 in full, the file has it in float32. */
const LIMIT_OF_GELU = 1e-6;

const isTransformer = (name: string): boolean => /transformer|gpt/.test(name);

/** Every network by both recipes; one of them in all modes. */
const CASES = Object.entries(NETWORKS).flatMap(([name, make]) =>
  FORMS.filter(({ match }) => match === 'none' && !isTransformer(name))
    .concat(isTransformer(name) ? FORMS.filter((f) => f.recipe === 'paper').slice(0, 1) : [])
    .map((form, i) => ({
      ...{ name, make, form },
      limit: isTransformer(name) ? LIMIT_OF_GELU : LIMIT,
      modes: i === 0 && !name.startsWith('v1') ? MODES : (['reversible'] as const),
    })),
);

test.each(CASES)(
  '$name, $form.recipe $form.partition $form.match',
  async ({ make, form, limit, modes }) => {
    await withFolder((folder) => {
      const pkg = packageOf(make(), folder, { ...form, batch: 3, seed: 7 });
      const step = evaluate(stepOf(pkg), constantsByName(pkg.loaded.rev), 11);
      for (const mode of modes) {
        const torch = runPackage(pkg, byName(step.feeds), { mode, dtype: 'float64' });
        expect(Math.abs(torch.loss - step.loss)).toBeLessThanOrEqual(limit * step.loss);
        expect(maxDistance(torch.output, step.logits).maxRel).toBeLessThanOrEqual(limit);
        expect([...torch.gradients.keys()].sort()).toEqual([...step.gradients.keys()].sort());
        const [gap, where] = worstTensor(torch.gradients, step.gradients);
        expect(gap, `${mode}: ${where}`).toBeLessThanOrEqual(limit);
        for (const [name, values] of step.running) {
          const own = torch.running.get(name);
          expect(own, name).toBeDefined();
          expect(maxDistance(own ?? [], values).maxRel, `${mode}: ${name}`).toBeLessThanOrEqual(
            limit,
          );
        }
      }
    });
  },
);
