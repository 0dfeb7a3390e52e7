// Pass bind-shapes: every extent becomes a number. In: a graph with symbolic dimensions, the batch size and the
// shapes given by hand. Out: static shapes everywhere. Invariant: nothing but types changes.

import { inferTypes } from '../src/analysis/index.js';
import { DiagnosticError } from '../src/diagnostics/index.js';
import { formatType, isStatic } from '../src/ir/index.js';
import type { Value } from '../src/ir/index.js';
import { dataInputs } from './free-batch.js';
import { definePass } from './state.js';
import type { Settings } from './state.js';

function bind(input: Value, settings: Settings): readonly number[] {
  const given = settings.inputShapes.get(input.name);
  const shape = input.shape ?? given;
  if (!shape)
    throw new DiagnosticError(
      'shape/unknown',
      `input ${input.name}`,
      'the model does not say its rank',
    );
  if (
    given &&
    (given.length !== shape.length ||
      shape.some((d, i) => i > 0 && typeof d === 'number' && d !== given[i]))
  )
    throw new DiagnosticError(
      'shape/mismatch',
      `input ${input.name}`,
      `--input-shape says [${given.join(',')}], the model ${formatType(input.type)}`,
    );
  const bound = shape.map((d, i) => {
    if (i === 0) return settings.batch;
    return typeof d === 'number' ? d : given?.[i];
  });
  if (!isStatic(bound as (number | string)[]) || bound.includes(undefined))
    throw new DiagnosticError(
      'shape/unknown',
      `input ${input.name}`,
      `the model gives it the shape ${formatType(input.type)}`,
      `pass --input-shape ${input.name}:${shape.map((d, i) => (i === 0 ? 1 : typeof d === 'number' ? d : '…')).join(',')}`,
    );
  return bound as number[];
}

export const bindShapes = definePass({
  name: 'bind-shapes',
  summary: 'fix the batch size and every other open dimension',
  run: ({ model: { graph }, settings }) => {
    const inputs = dataInputs(graph);
    for (const name of settings.inputShapes.keys())
      if (!inputs.some((input) => input.name === name))
        throw new DiagnosticError(
          'usage/option',
          '--input-shape',
          `the model has no input ${name}, but ${inputs.map((input) => input.name).join(', ')}`,
        );
    for (const input of inputs)
      input.type = { dtype: input.type?.dtype ?? 'float32', shape: bind(input, settings) };
    for (const node of graph.nodes)
      for (const value of node.outputs) if (value) value.type = undefined;
    graph.sort();
    const { problems } = inferTypes(graph);
    const [first] = problems;
    if (first) throw first.error;
  },
});
