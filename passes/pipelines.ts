// The pipeline from a model to rev.onnx as a text may name it. In: text, passes of the user. Out: two lists of passes,
// before and after the network to compare with is set aside. Invariant: what makes train.onnx of rev.onnx is always
// the same, so that a folder can be verified with nothing but what lies in it.

import { parsePipeline, printPipeline } from '../src/rewrite/index.js';
import type { Pass } from '../src/rewrite/index.js';
import { couplePipeline, importPipeline, standardPipeline, stepPipeline } from './catalogue.js';
import type { CompileState } from './state.js';

type AnyPass = Pass<CompileState>;

export interface RevPipeline {
  /** Up to the network that is compared with as the original. */
  readonly before: readonly AnyPass[];
  /** From the first pass of couple on. */
  readonly after: readonly AnyPass[];
}

/** What --passes may name beside single passes. */
const GROUPS = { import: importPipeline, couple: couplePipeline };

/**
 * @param text default: import, the passes of the user in their order, couple
 * @throws DiagnosticError pass/unknown
 */
export function revPipeline(text?: string, own: readonly AnyPass[] = []): RevPipeline {
  const known: AnyPass[] = [...importPipeline, ...couplePipeline];
  const names = new Set(known.map((pass) => pass.name));
  const alone = (pipeline: readonly AnyPass[]): string[] =>
    pipeline.map(({ name }) => name).filter((name) => !names.has(name));
  const passes =
    text === undefined
      ? [...importPipeline, ...own, ...couplePipeline]
      : parsePipeline<CompileState>(text, {
          passes: [...known, ...own],
          groups: GROUPS,
          refused: new Map([
            ...alone(standardPipeline).map((name): [string, string] => [
              name,
              `${name} always runs, at the end of the pipeline`,
            ]),
            ...alone(stepPipeline).map((name): [string, string] => [
              name,
              `${name} makes train.onnx of rev.onnx and always runs; a pipeline ends at rev.onnx`,
            ]),
          ]),
        });
  const imported = new Set(importPipeline.map((pass) => pass.name));
  const coupling = new Set(couplePipeline.map((pass) => pass.name));
  const at = passes.findIndex(({ name }) => coupling.has(name) && !imported.has(name));
  const cut = at < 0 ? passes.length : at;
  return { before: passes.slice(0, cut), after: passes.slice(cut) };
}

/** In the form --passes takes. */
export const printRevPipeline = ({ before, after }: RevPipeline): string =>
  printPipeline([...before, ...after]);

/** Every pass by the part of the way it belongs to, for --list-passes. */
export const listPasses = (
  own: readonly AnyPass[] = [],
): readonly { readonly part: string; readonly passes: readonly AnyPass[] }[] => [
  { part: 'import', passes: importPipeline },
  ...(own.length > 0 ? [{ part: 'of your own', passes: own }] : []),
  { part: 'couple', passes: couplePipeline },
  { part: 'standard form (always, before rev.onnx)', passes: standardPipeline },
  { part: 'step (always, after rev.onnx)', passes: stepPipeline },
];
