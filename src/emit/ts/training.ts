// The training itself as code. In: the plan, a source file with the types. Out: makers of tensors, a class that runs the
// step through revnetify/runtime, and a loop over batches. Invariant: arrays become tensors only after their length has
// been compared with the shape, and a folder is trained only if its plan has the inputs of the module.

import { Scope } from 'ts-morph';
import type { SourceFile } from 'ts-morph';
import type { Plan } from '../../plan/index.js';
import { arrayType, propertyName } from './names.js';
import { batchOf } from './types.js';

export function addTraining(file: SourceFile, name: string, plan: Plan): void {
  addMakers(file, plan);
  addClass(file, name);
  addLoop(file, name);
}

/** Makes a tensor of each array that goes in. */
function addMakers(file: SourceFile, plan: Plan): void {
  file.addFunction({
    name: 'shaped',
    docs: ['@throws RangeError where the array is shorter or longer than its shape'],
    typeParameters: [
      { name: 'Elements', constraint: '{ readonly length: number }' },
      { name: 'Shape', constraint: 'readonly number[]' },
    ],
    parameters: [
      { name: 'elements', type: 'Elements' },
      { name: 'shape', type: 'Shape' },
    ],
    returnType: 'Tensor<Elements, Shape>',
    statements: [
      'const count = shape.reduce((product, extent) => product * extent, 1);',
      'if (elements.length !== count)\n  throw new RangeError(`${elements.length} elements are no tensor of shape [${shape.join(", ")}]`);',
      'return elements as Tensor<Elements, Shape>;',
    ],
  });
  const { main, sides } = batchOf(plan);
  const plain = [
    ...main.map(({ key, input }) => `  readonly ${key}: ${arrayType(input.dtype)};`),
    ...(sides.length > 0
      ? [
          '  readonly sides: {',
          ...sides.map(
            ({ name, dtype }) => `    readonly ${propertyName(name)}: ${arrayType(dtype)};`,
          ),
          '  };',
        ]
      : []),
  ];
  const made = [
    ...main.map(({ key }) => `  ${key}: shaped(arrays.${key}, BATCH.${key}),`),
    ...(sides.length > 0
      ? [
          '  sides: {',
          ...sides.map(
            ({ name }) =>
              `    ${propertyName(name)}: shaped(arrays.sides${at(name)}, SIDES${at(name)}),`,
          ),
          '  },',
        ]
      : []),
  ];
  file.addFunction({
    name: 'batch',
    isExported: true,
    docs: [
      'A batch of plain arrays.\n@throws RangeError where one has another length than its shape',
    ],
    parameters: [{ name: 'arrays', type: `{\n${plain.join('\n')}\n}` }],
    returnType: 'Batch',
    statements: [`return {\n${made.join('\n')}\n};`],
  });
}

const at = (key: string): string =>
  propertyName(key) === key ? `.${key}` : `[${propertyName(key)}]`;

function addClass(file: SourceFile, name: string): void {
  file.addClass({
    name,
    isExported: true,
    docs: [
      'One training step after another. Weights and optimizer state stay where the device has them.',
    ],
    ctors: [
      {
        scope: Scope.Private,
        parameters: [
          { name: 'running', type: 'TrainingStep', isReadonly: true, scope: Scope.Private },
        ],
      },
    ],
    methods: [
      {
        name: 'open',
        isStatic: true,
        isAsync: true,
        docs: [
          'Opens the folder that the module was made from, or one compiled in the same way.\n@throws Error where its step has other inputs; DiagnosticError of revnetify otherwise',
        ],
        parameters: [
          { name: 'dir', type: 'string' },
          { name: 'options', type: 'StepOptions', initializer: '{}' },
        ],
        returnType: `Promise<${name}>`,
        statements: [
          'const { plan } = readPlan(dir);',
          'for (const { name, shape, next } of plan.inputs) {',
          '  if (next === undefined) continue;',
          '  const own: readonly number[] | undefined = STATE[name as keyof State];',
          "  if (own?.join() !== shape.join())\n    throw new Error(`${dir} holds another network: ${name} is [${shape.join(', ')}]`);",
          '}',
          `return new ${name}(await TrainingStep.open(dir, plan, options));`,
        ],
      },
      {
        name: 'step',
        docs: [
          'Runs SCHEDULE once: loss, gradients, update. @throws DiagnosticError train/diverged',
        ],
        parameters: [
          { name: 'inputs', type: 'Batch' },
          { name: 'settings', type: 'Settings' },
        ],
        returnType: 'Promise<StepOutputs>',
        statements: ['return this.running.run({ ...inputs, ...settings });'],
      },
      {
        name: 'download',
        docs: ['Brings the state to this process, where it lives on a device.'],
        returnType: 'Promise<void>',
        statements: ['return this.running.download();'],
      },
      {
        name: 'get',
        docs: [
          'A tensor of the state as it is; later steps change it. On a device: as download() found it.',
        ],
        typeParameters: [{ name: 'Name', constraint: 'keyof State' }],
        parameters: [{ name: 'name', type: 'Name' }],
        returnType: 'State[Name]',
        statements: ['return this.running.state(name) as State[Name];'],
      },
      {
        name: 'close',
        docs: ['Gives back what the session holds.'],
        returnType: 'Promise<void>',
        statements: ['return this.running.dispose();'],
      },
    ],
  });
}

function addLoop(file: SourceFile, name: string): void {
  file.addFunction({
    name: 'train',
    isExported: true,
    isAsync: true,
    isGenerator: true,
    docs: [
      'Trains on batches, one step each; what is yielded after a step is its loss and number of correct answers.',
    ],
    parameters: [
      { name: 'network', type: name },
      { name: 'batches', type: 'Iterable<Batch> | AsyncIterable<Batch>' },
      { name: 'settings', type: '(step: number) => Settings' },
    ],
    returnType: 'AsyncGenerator<StepOutputs>',
    statements: [
      'let steps = 0;',
      'for await (const inputs of batches) yield await network.step(inputs, settings(steps++));',
    ],
  });
}
