// The types of a training module. In: the plan, an empty source file. Out: declarations of every tensor that goes in,
// comes out or is kept, with its shape. Invariant: what type-checks against them has the names and the shapes of
// the plan.

import type { OptionalKind, PropertySignatureStructure, SourceFile } from 'ts-morph';
import type { InputRole, Plan, PlanInput } from '../../plan/index.js';
import { propertyName, quoted, shapeText, tensorType } from './names.js';

const list = (shape: readonly number[]): string =>
  shape.length === 0 ? 'a scalar' : shape.join(' × ');

const property = (
  name: string,
  { dtype, shape }: PlanInput,
  docs: readonly string[] = [],
): OptionalKind<PropertySignatureStructure> => ({
  name: propertyName(name),
  type: tensorType(dtype, shape),
  isReadonly: true,
  docs: [...docs],
});

function addTensor(file: SourceFile): void {
  file.addStatements(
    '/** Marks the shape of a tensor in its type; there is nothing of it at run time. */\ndeclare const shapeOf: unique symbol;',
  );
  file.addTypeAlias({
    name: 'Tensor',
    isExported: true,
    docs: ['Elements in row-major order; the shape is part of the type.'],
    typeParameters: [{ name: 'Elements' }, { name: 'Shape', constraint: 'readonly number[]' }],
    type: 'Elements & { readonly [shapeOf]: Readonly<Shape> }',
  });
}

/** One interface for all inputs of some roles. */
function addState(
  file: SourceFile,
  plan: Plan,
  name: string,
  doc: string,
  roles: readonly InputRole[],
): void {
  const inputs = plan.inputs.filter(({ role }) => roles.includes(role));
  file.addInterface({
    name,
    isExported: true,
    docs: [doc],
    properties: inputs.map((input) =>
      property(input.name, input, input.weight === undefined ? [] : [`Of ${input.weight}.`]),
    ),
  });
}

/** The inputs of a batch: those with a name of their own in code, and those that go by the network's names. */
export function batchOf({ inputs }: Plan): {
  readonly main: readonly { readonly key: 'images' | 'labels'; readonly input: PlanInput }[];
  readonly sides: readonly PlanInput[];
} {
  return {
    main: inputs.flatMap((input) =>
      input.role === 'images' || input.role === 'labels' ? [{ key: input.role, input }] : [],
    ),
    sides: inputs.filter(({ role }) => role === 'side'),
  };
}

function describeInput({ role, dtype, shape, limit }: PlanInput): string {
  const what =
    role === 'labels'
      ? dtype === 'int64'
        ? 'Classes'
        : 'Targets'
      : role === 'side'
        ? 'A further input of the network'
        : dtype === 'int64'
          ? 'Token numbers'
          : 'Images, already normalised';
  const below = limit === undefined ? '' : `, below ${limit}`;
  return `${what}: ${dtype}, ${list(shape)}${below}.`;
}

const SETTINGS: Readonly<Record<Plan['assumptions']['optimizer'], readonly string[]>> = {
  sgd: ['momentum', 'weightDecay'],
  adamw: ['beta1', 'beta2', 'epsilon', 'weightDecay'],
};

export function addTypes(file: SourceFile, plan: Plan): void {
  addTensor(file);
  addState(file, plan, 'Parameters', 'Weights by name.', ['weight']);
  addState(file, plan, 'Statistics', 'Running means and variances by name.', ['statistic']);
  addState(file, plan, 'OptimizerState', "The optimizer's tensors by name.", [
    ...(['velocity', 'moment1', 'moment2', 'gradient_sum'] as const),
  ]);
  file.addTypeAlias({
    name: 'State',
    isExported: true,
    docs: ['All that goes from step to step.'],
    type: 'Parameters & Statistics & OptimizerState',
  });
  const { main, sides } = batchOf(plan);
  if (sides.length > 0)
    // No interface: the runtime takes a record, which an interface is not.
    file.addTypeAlias({
      name: 'Sides',
      isExported: true,
      docs: ['What the network takes beside the images, by its own names.'],
      type: `{\n${sides
        .flatMap((input) => [
          `  /** ${describeInput(input)} */`,
          `  readonly ${propertyName(input.name)}: ${tensorType(input.dtype, input.shape)};`,
        ])
        .join('\n')}\n}`,
    });
  file.addInterface({
    name: 'Batch',
    isExported: true,
    docs: ['What one step is fed.'],
    properties: [
      ...main.map(({ key, input }) => property(key, input, [describeInput(input)])),
      ...(sides.length > 0 ? [{ name: 'sides', type: 'Sides', isReadonly: true }] : []),
    ],
  });
  file.addInterface({
    name: 'Settings',
    isExported: true,
    docs: [`Of one step of ${plan.assumptions.optimizer}; what is left out has its usual value.`],
    properties: [
      { name: 'learningRate', type: 'number', isReadonly: true },
      ...SETTINGS[plan.assumptions.optimizer].map((name) => ({
        name,
        type: 'number',
        hasQuestionToken: true,
        isReadonly: true,
      })),
    ],
  });
}

/** The shapes once more, as values: what is checked when arrays become tensors and when a folder is opened. */
export function addShapes(file: SourceFile, plan: Plan): void {
  const { main, sides } = batchOf(plan);
  const entries = (inputs: readonly (readonly [string, PlanInput])[]): string =>
    `{\n${inputs.map(([name, { shape }]) => `  ${propertyName(name)}: ${shapeText(shape)},`).join('\n')}\n}`;
  const named = (inputs: readonly PlanInput[]): string =>
    entries(inputs.map((input) => [input.name, input]));
  const state = plan.inputs.filter(({ next }) => next !== undefined);
  const type = '{ readonly [Name in keyof State]: readonly number[] }';
  file.addStatements([
    `/** Shapes of a batch. */\nconst BATCH = ${entries(main.map(({ key, input }) => [key, input]))} as const;`,
    ...(sides.length > 0 ? [`const SIDES = ${named(sides)} as const;`] : []),
    `/** Shapes of the state, by name. */\nconst STATE: ${type} = ${named(state)};`,
  ]);
}

/** A union of texts. */
export const union = (texts: Iterable<string>): string =>
  [...new Set(texts)].map((text) => `\n  | ${quoted(text)}`).join('');
