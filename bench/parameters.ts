// npm run bench:parameters: what a conversion does to the number of parameters. In: the networks of the paper, built
// here. Out: parameters of each original, of its reversible forms, and of the paper's own pair (counted from the authors'
// configurations, Gomez et al. 2017, table 1). Invariant: nothing is trained or run; every count is of a converted graph.

import { preResNet, resNetImageNet } from '../fixtures/models.js';
import { printJson, printResult } from '../src/cli/output.js';
import { analyseModel } from '../src/compiler/index.js';
import { findParameters } from '../src/autodiff/index.js';
import { elementCount } from '../src/ir/index.js';
import type { Model } from '../src/ir/index.js';
import { benchmark, runBenchmark } from './lib/command.js';
import type { CommonOptions } from './lib/command.js';
import { markdownTable } from './lib/table.js';
import { VARIANTS } from './lib/variants.js';
import type { Variant } from './lib/variants.js';

const command = benchmark('bench:parameters', 'parameters before and after conversion');

interface Subject {
  readonly make: () => Model;
  /** The authors' ResNet and the RevNet they compare it with. */
  readonly authors: readonly [string, number, string, number];
}

const SUBJECTS: Readonly<Record<string, Subject>> = {
  'ResNet-32': {
    make: () => preResNet({ depth: 32 }),
    authors: ['ResNet-32', 464_154, 'RevNet-38', 464_890],
  },
  'ResNet-110': {
    make: () => preResNet({ depth: 110 }),
    authors: ['ResNet-110', 1_727_962, 'RevNet-110', 1_729_194],
  },
  'ResNet-164': {
    make: () => preResNet({ depth: 164, block: 'bottleneck' }),
    authors: ['ResNet-164', 1_703_258, 'RevNet-164', 1_748_778],
  },
  'ResNet-101': {
    make: () => resNetImageNet({ layers: [3, 4, 23, 3], block: 'bottleneck' }),
    authors: ['ResNet-101', 44.54e6, 'RevNet-104', 45.43e6],
  },
};

const FORMS: readonly Variant[] = ['plain', 'rewire', 'paper', 'paper-params', 'split-params'];

const parametersOf = ({ make }: Subject, variant: Variant): number => {
  const { model } = analyseModel(make(), { ...VARIANTS[variant], batch: 2 });
  return findParameters(model.graph).reduce(
    (sum, { constant }) => sum + elementCount(constant?.dims ?? []),
    0,
  );
};

const shown = (count: number): string => count.toLocaleString('en');

await runBenchmark(command, () => {
  const options = command.opts<CommonOptions>();
  const rows = Object.entries(SUBJECTS).flatMap(([model, subject]) => {
    const plain = parametersOf(subject, 'plain');
    return FORMS.map((variant) => {
      const parameters = variant === 'plain' ? plain : parametersOf(subject, variant);
      return { model, variant, parameters, ratio: parameters / plain, authors: subject.authors };
    });
  });
  if (options.json) printJson({ rows });
  else
    printResult(
      markdownTable(
        ['model', 'form', 'parameters', 'to the original', 'the paper'],
        rows.map(({ model, variant, parameters, ratio, authors }) => [
          model,
          variant,
          shown(parameters),
          variant === 'plain' ? '' : `${((ratio - 1) * 100).toFixed(2)} %`,
          variant === 'plain'
            ? `${authors[0]}: ${shown(authors[1])}`
            : variant === 'paper-params'
              ? `${authors[2]}: ${shown(authors[3])}`
              : '',
        ]),
        2,
      ),
    );
  return Promise.resolve();
});
