// The TypeScript module of a network: it compiles under `strict`, refuses what does not fit, and trains.

import { spawn } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { preResNet } from '../../fixtures/models.js';
import { gpt } from '../../fixtures/transformers.js';
import { TrainingStep, readPlan } from '../../runtime/index.js';
import { compile, writeFolder } from '../../src/compiler/index.js';
import { exportTs } from '../../src/emit/ts/index.js';
import { arrayType, className, propertyName, quoted } from '../../src/emit/ts/names.js';
import { HOOK_TIMEOUT, finished } from '../cli/program.js';
import { compileRuntime } from '../runtime/compiled.js';

const sources = fileURLToPath(new URL('../..', import.meta.url));

let root: string;
let folder: string;
beforeAll(() => {
  root = compileRuntime();
  folder = mkdtempSync(join(tmpdir(), 'export-ts-'));
}, HOOK_TIMEOUT);
afterAll(() => {
  rmSync(root, { recursive: true });
  rmSync(folder, { recursive: true });
});

const sgd = (): string => {
  const dir = mkdtempSync(join(folder, 'sgd-'));
  const model = preResNet({ depth: 20, width: 2, image: 8, classes: 3, seed: 1 });
  const options = { recipe: 'rewire', batch: 4 } as const;
  writeFolder(compile(model, { name: 'pre-res.20', source: 'a.onnx', ...options }), dir);
  return dir;
};

const adamw = (): string => {
  const dir = mkdtempSync(join(folder, 'adamw-'));
  const sizes = { tokens: 6, vocabulary: 11, sides: true };
  const model = gpt({ depth: 2, width: 8, heads: 2, seed: 5, ...sizes });
  const options = { recipe: 'rewire', batch: 2, optimizer: 'adamw' } as const;
  writeFolder(compile(model, { name: 'gpt', source: 'gpt.onnx', ...options }), dir);
  return dir;
};

/** What the compiler of the project says of files, as strict as it can be. */
function complaints(...files: string[]): string[] {
  const program = ts.createProgram(files, {
    ...{ strict: true, noUncheckedIndexedAccess: true, exactOptionalPropertyTypes: true },
    ...{ noUnusedLocals: true, noUnusedParameters: true, noImplicitOverride: true },
    ...{ noEmit: true, skipLibCheck: true, isolatedModules: true, verbatimModuleSyntax: true },
    target: ts.ScriptTarget.ES2023,
    module: ts.ModuleKind.NodeNext,
    moduleResolution: ts.ModuleResolutionKind.NodeNext,
    lib: ['lib.es2023.d.ts'],
    types: ['node'],
    typeRoots: [join(sources, 'node_modules/@types')],
    paths: { 'revnetify/runtime': [join(sources, 'runtime/index.ts')] },
  });
  return ts
    .getPreEmitDiagnostics(program)
    .filter(({ file }) => file && files.includes(file.fileName))
    .map(({ messageText }) => ts.flattenDiagnosticMessageText(messageText, '\n'));
}

describe.each([
  ['SGD on images', sgd, 'PreRes20Training'],
  ['AdamW on tokens with a mask', adamw, 'GptTraining'],
])('%s', (_, make, name) => {
  test('compiles, and says the plan', () => {
    const dir = make();
    writeFileSync(join(dir, 'package.json'), '{ "type": "module" }');
    const { path, className: found, parameters } = exportTs(dir);
    expect(found).toBe(name);
    expect(complaints(path)).toEqual([]);

    const text = readFileSync(path, 'utf8');
    const { plan } = readPlan(dir);
    const weights = plan.inputs.filter(({ role }) => role === 'weight');
    expect(parameters).toBe(weights.length);
    for (const { name: weight, shape } of weights)
      expect(text).toContain(
        `readonly ${propertyName(weight)}: Tensor<Float32Array, [${shape.join(', ')}]>;`,
      );
    const steps = plan.steps.map(
      (s) => `${s.phase}(${quoted(s.unit)}, ${s.nodes}, ${s.peakBytes})`,
    );
    expect(
      text.match(/^ {2}(forward|recompute|backward|update)\(.*\)/gm)?.map((s) => s.trim()),
    ).toEqual(steps);
  });
});

const WRONG: readonly (readonly [string, string, RegExp])[] = [
  ['a name', "network.get('fc.wight');", /"fc.wight"' is not assignable to parameter/],
  ['a shape', "const w: Tensor<Float32Array, [7]> = network.get('fc.bias');", /not assignable/],
  ['bare arrays', 'await network.step({ images, labels }, { learningRate: 1 });', /shapeOf/],
  [
    'a setting of another optimizer',
    'await network.step(inputs, { learningRate: 1, beta1: 0.9 });',
    /'beta1' does not exist/,
  ],
  ['a unit', "const unit: Unit = 'stage9';", /not assignable to type 'Unit'/],
];

test('what does not fit does not compile', () => {
  const dir = sgd();
  writeFileSync(join(dir, 'package.json'), '{ "type": "module" }');
  const { path } = exportTs(dir);
  const use = (statement: string): string => {
    const file = join(dir, 'use.ts');
    const lines = [
      "import { PreRes20Training, batch } from './pre-res.20.training.js';",
      "import type { Tensor, Unit } from './pre-res.20.training.js';",
      "const network = await PreRes20Training.open('.');",
      'const images = new Float32Array(768);',
      'const labels = new BigInt64Array(4);',
      'const inputs = batch({ images, labels });',
      'await network.step(inputs, { learningRate: 1 });',
      "export const bias: Tensor<Float32Array, [3]> = network.get('fc.bias');",
      "export const stem: Unit = 'stem';",
      statement,
    ];
    writeFileSync(file, `${lines.join('\n')}\n`);
    return file;
  };
  expect(complaints(use(''), path)).toEqual([]);
  for (const [what, statement, message] of WRONG)
    expect({ what, said: complaints(use(statement), path).join('\n') }).toEqual({
      what,
      said: expect.stringMatching(message) as string,
    });
}, 240_000);

/** Runs a program that may import the module and the package. */
async function runBeside(dir: string, program: readonly string[]): Promise<unknown> {
  const { path } = exportTs(dir, { force: true });
  const { outputText } = ts.transpileModule(readFileSync(path, 'utf8'), {
    compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext },
  });
  const place = mkdtempSync(join(root, 'exported-'));
  writeFileSync(join(place, 'training.js'), outputText);
  const main = join(place, 'main.js');
  writeFileSync(main, program.join('\n'));
  const { code, stdout, stderr } = await finished(spawn(process.execPath, [main, dir]));
  expect({ code, stderr }).toEqual({ code: 0, stderr: '' });
  return JSON.parse(stdout);
}

test('trains as the runtime itself does', async () => {
  const dir = sgd();
  const { plan } = readPlan(dir);
  const images = Float32Array.from({ length: 4 * 3 * 8 * 8 }, (_, i) => Math.sin(i));
  const labels = BigInt64Array.from([0n, 1n, 2n, 1n]);
  const step = await TrainingStep.open(dir, plan, { threads: 1 });
  const losses: number[] = [];
  for (let i = 0; i < 2; i++)
    losses.push((await step.run({ images, labels, learningRate: 0.1, momentum: 0.5 })).loss);
  const bias = [...step.state('fc.bias')];
  await step.dispose();

  const report = await runBeside(dir, [
    "import { PreRes20Training, SCHEDULE, batch, train } from './training.js';",
    'const images = Float32Array.from({ length: 4 * 3 * 8 * 8 }, (_, i) => Math.sin(i));',
    'const inputs = batch({ images, labels: BigInt64Array.from([0n, 1n, 2n, 1n]) });',
    'const network = await PreRes20Training.open(process.argv[2], { threads: 1 });',
    'const losses = [];',
    'const settings = () => ({ learningRate: 0.1, momentum: 0.5 });',
    'for await (const { loss } of train(network, [inputs, inputs], settings)) losses.push(loss);',
    'await network.download();',
    "const bias = [...network.get('fc.bias')];",
    'await network.close();',
    "let refused = '';",
    'try { batch({ images: images.slice(1), labels: new BigInt64Array(4) }); } catch (e) { refused = String(e); }',
    'console.log(JSON.stringify({ losses, bias, refused, steps: SCHEDULE.length }));',
  ]);
  expect(report).toEqual({
    losses,
    bias,
    refused: 'RangeError: 767 elements are no tensor of shape [4, 3, 8, 8]',
    steps: plan.steps.length,
  });
  expect(losses[1]).not.toBe(losses[0]);
});

test('a network with a further input trains, and another folder is refused', async () => {
  const [dir, other] = [adamw(), sgd()];
  const { plan } = readPlan(dir);
  const sides = plan.inputs
    .filter(({ role }) => role === 'side')
    .map(({ name, dtype, shape }) => {
      const array = arrayType(dtype);
      return `${JSON.stringify(name)}: new ${array}(${shape.reduce((n, d) => n * d, 1)})`;
    });
  expect(sides.length).toBeGreaterThan(0);
  const report = await runBeside(dir, [
    "import { GptTraining, batch } from './training.js';",
    `const sides = { ${sides.join(', ')} };`,
    'const [images, labels] = [new BigInt64Array(12), new BigInt64Array(12)];',
    'const network = await GptTraining.open(process.argv[2], { threads: 1 });',
    'const { loss } = await network.step(batch({ images, labels, sides }), { learningRate: 0.1 });',
    'await network.close();',
    `const refused = await GptTraining.open(${JSON.stringify(other)}).catch(String);`,
    'console.log(JSON.stringify({ loss, refused }));',
  ]);
  expect(report).toEqual({
    loss: expect.any(Number) as number,
    refused: expect.stringContaining('holds another network: ') as string,
  });
});

test('a module that is there is replaced only when that is asked for', () => {
  const dir = sgd();
  const { path } = exportTs(dir);
  writeFileSync(path, 'mine');
  expect(() => exportTs(dir)).toThrow(/usage\/output[^]*it exists[^]*--force/);
  expect(readFileSync(path, 'utf8')).toBe('mine');
  exportTs(dir, { force: true });
  expect(readFileSync(path, 'utf8')).toContain('class PreRes20Training');
});

test.each([
  ['resnet20', 'Resnet20Training'],
  ['resnet20-v1', 'Resnet20V1Training'],
  ['3d net', 'Net3dNetTraining'],
  ['…', 'NetTraining'],
])('%s is class %s', (name, expected) => {
  expect(className(name)).toBe(expected);
});

test("names with quotes and backslashes are TypeScript's texts", () => {
  for (const name of ["it's", 'say "a"', 'a\\b', 'line\nbreak'])
    // eslint-disable-next-line @typescript-eslint/no-implied-eval, @typescript-eslint/no-unsafe-call -- a literal of ours
    expect(new Function(`return ${quoted(name)}`)()).toBe(name);
});
