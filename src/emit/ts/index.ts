// A training module in TypeScript. In: a compiled folder. Out: NAME.training.ts, a typed front of revnetify/runtime for
// this one network. Invariant: the module is written whole or not at all, and a file that is there is not replaced
// unasked.
//
// This folder loads ts-morph, and with it the TypeScript compiler: import it only when a module is to be written.

import { existsSync, mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { IndentationText, Project, QuoteKind } from 'ts-morph';
import { readPlan } from '../../../runtime/index.js';
import { DiagnosticError } from '../../diagnostics/index.js';
import { atomicWrite } from '../../onnx/index.js';
import type { Plan } from '../../plan/index.js';
import { className } from './names.js';
import { addSchedule } from './schedule.js';
import { addTraining } from './training.js';
import { addShapes, addTypes } from './types.js';

export interface ExportTsOptions {
  /** Folder of the module; default: the compiled folder. */
  readonly to?: string;
  /** Replace a module that is there. */
  readonly force?: boolean;
}

export interface ExportedTs {
  readonly path: string;
  /** Name of the class that runs the step. */
  readonly className: string;
  readonly parameters: number;
}

/** @throws DiagnosticError train/invalid, usage/output */
export function exportTs(
  dir: string,
  { to = dir, force = false }: ExportTsOptions = {},
): ExportedTs {
  const { plan } = readPlan(dir);
  const path = join(to, `${plan.model.name}.training.ts`);
  if (!force && existsSync(path))
    throw new DiagnosticError(
      'usage/output',
      path,
      'it exists',
      'pass --force to replace it, changes and all',
    );
  try {
    mkdirSync(to, { recursive: true });
  } catch (error) {
    throw new DiagnosticError('usage/output', to, error instanceof Error ? error.message : '');
  }
  atomicWrite(path, trainingModule(plan));
  return {
    path,
    className: className(plan.model.name),
    parameters: plan.inputs.filter(({ role }) => role === 'weight').length,
  };
}

/** The text of the module. */
function trainingModule(plan: Plan): string {
  const { model, assumptions, recipe } = plan;
  const project = new Project({
    useInMemoryFileSystem: true,
    manipulationSettings: {
      indentationText: IndentationText.TwoSpaces,
      quoteKind: QuoteKind.Single,
    },
  });
  const file = project.createSourceFile(`${model.name}.training.ts`);
  file.addImportDeclaration({
    moduleSpecifier: 'revnetify/runtime',
    namedImports: ['TrainingStep', 'readPlan'],
  });
  file.addImportDeclaration({
    moduleSpecifier: 'revnetify/runtime',
    isTypeOnly: true,
    namedImports: ['StepOptions', 'StepOutputs'],
  });
  addTypes(file, plan);
  addShapes(file, plan);
  addTraining(file, className(model.name), plan);
  addSchedule(file, plan);
  file.formatText({ indentSize: 2, ensureNewLineAtEndOfFile: true });
  const header = [
    `// Training of ${model.name}: recipe ${recipe}, policy ${assumptions.policy}, batch ${assumptions.batch}, target ${assumptions.target}.`,
    `// Written by revnetify export ts; yours to change. The step itself is one ONNX graph, ${model.train},`,
    '// which revnetify/runtime runs: the types are those of its inputs, SCHEDULE is the order it works in.',
  ];
  return `${header.join('\n')}\n\n${file.getFullText()}`;
}
