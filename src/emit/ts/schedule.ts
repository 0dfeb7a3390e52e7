// The schedule of a step as code. In: the plan, a source file. Out: the units with their policies, and one line per
// stretch of the step in the order of execution. Invariant: the lines are the plan's steps, all of them, in its order.

import { VariableDeclarationKind } from 'ts-morph';
import type { SourceFile } from 'ts-morph';
import type { Plan, PlanStep } from '../../plan/index.js';
import { propertyName, quoted } from './names.js';
import { union } from './types.js';

const PHASES: readonly (readonly [PlanStep['phase'], string])[] = [
  ['forward', 'Computes the unit.'],
  ['recompute', 'Computes the inside of a unit again: from what it gave, or from its input.'],
  ['backward', 'Gradients of the unit.'],
  ['update', "New weights of the unit, and the optimizer's tensors."],
];

export function addSchedule(file: SourceFile, { units, steps }: Plan): void {
  const names = new Set([...units.map(({ id }) => id), ...steps.map(({ unit }) => unit)]);
  file.addTypeAlias({
    name: 'Unit',
    isExported: true,
    docs: ['The parts that the step is scheduled by.'],
    type: union(names),
  });
  file.addInterface({
    name: 'ScheduledStep',
    isExported: true,
    docs: ['A stretch of the step graph.'],
    properties: [
      { name: 'phase', type: union(PHASES.map(([phase]) => phase)), isReadonly: true },
      { name: 'unit', type: 'Unit', isReadonly: true },
      { name: 'nodes', type: 'number', isReadonly: true, docs: ['Operators.'] },
      {
        name: 'peakBytes',
        type: 'number',
        isReadonly: true,
        docs: ['The most that is live meanwhile, as predicted.'],
      },
    ],
  });
  for (const [phase, doc] of PHASES)
    file.addFunction({
      name: phase,
      docs: [doc],
      parameters: [
        { name: 'unit', type: 'Unit' },
        { name: 'nodes', type: 'number' },
        { name: 'peakBytes', type: 'number' },
      ],
      returnType: 'ScheduledStep',
      statements: [`return { phase: ${quoted(phase)}, unit, nodes, peakBytes };`],
    });
  file.addVariableStatement({
    declarationKind: VariableDeclarationKind.Const,
    isExported: true,
    docs: ['How each unit gets back what its gradients need.'],
    declarations: [
      {
        name: 'POLICIES',
        type: "Readonly<Partial<Record<Unit, 'reverse' | 'store' | 'recompute'>>>",
        initializer: `{\n${units.map(({ id, policy }) => `  ${propertyName(id)}: ${quoted(policy)},`).join('\n')}\n}`,
      },
    ],
  });
  file.addStatements('\n');
  file.addVariableStatement({
    declarationKind: VariableDeclarationKind.Const,
    isExported: true,
    docs: ['What one step does, in the order in which it is done.'],
    declarations: [
      {
        name: 'SCHEDULE',
        type: 'readonly ScheduledStep[]',
        initializer: `[\n${steps
          .map((s) => `  ${s.phase}(${quoted(s.unit)}, ${s.nodes}, ${s.peakBytes}),`)
          .join('\n')}\n]`,
      },
    ],
  });
}
