// Passes of users, written against the published name of the package: through the command and through the library.
// Every way of getting one wrong ends in a message that says what to change.

import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { readModel } from '../../src/onnx/index.js';
import { HOOK_TIMEOUT, Program, finished, fixture } from './program.js';

const program = new Program();
const resnet = fixture('resnet20.onnx');

/** The pass of README.md, "Passes of your own". */
const LEAKY = `
import { defineRewrite, float } from 'revnetify/passes';

export default defineRewrite({
  name: 'leaky-relu',
  summary: 'replace Relu by LeakyRelu',
  match: (op, { x }) => op.Relu(x),
  check: ({ x }) => x.type?.dtype === 'float32' || 'its operand is not float32',
  replace: ({ x }, { build }) =>
    build.op('LeakyRelu', [x], { attributes: { alpha: float(0.1) } }),
});
`;
const SLOPE = `
import { definePass, float } from 'revnetify/passes';

export const slope = definePass({
  name: 'slope',
  summary: 'set the slope of every LeakyRelu',
  options: { alpha: { summary: 'slope below zero', type: 'number', default: 0.01 } },
  run: ({ model: { graph } }, { alpha }) => {
    for (const node of graph.nodes)
      if (node.op === 'LeakyRelu')
        node.attributes = node.attributes.with({ alpha: float(alpha) });
  },
});
export const helper = 1;
`;

/** Puts a module into the package's folder; returns its path. */
function module(name: string, text: string): string {
  const path = join(program.root, name);
  writeFileSync(path, text);
  return path;
}

let leaky: string;
let slope: string;
beforeAll(() => {
  leaky = module('leaky.mjs', LEAKY);
  slope = module('slope.mjs', SLOPE);
}, HOOK_TIMEOUT);

const FAST = ['--batch', '2', '--recipe', 'rewire', '--no-verify'];
const slopes = (dir: string): (number | undefined)[] =>
  [...readModel(join(dir, 'resnet20.rev.onnx')).graph.nodes]
    .filter((node) => node.op === 'LeakyRelu')
    .map((node) => node.attributes.float('alpha', NaN));

describe('the command', () => {
  test('runs them, verifies what comes out, dumps and times', async () => {
    const dir = join(program.folder, 'leaky');
    const { code, stdout, stderr } = await program.run(
      ...[
        resnet,
        '-o',
        dir,
        '--batch',
        '2',
        '--recipe',
        'rewire',
        '--pass',
        leaky,
        '--pass',
        slope,
      ],
      ...['--passes', 'import,leaky-relu,slope{alpha=0.25},couple', '--timing'],
      ...['--dump-after', 'all'],
    );
    expect({ code, stderr: code === 0 ? '' : stderr }).toEqual({ code: 0, stderr: '' });
    expect(stdout).toMatch(/verification at batch 2: passed/);
    expect(stderr).toMatch(/pass leaky-relu: 19 places changed/);
    expect(stderr).toMatch(/^leaky-relu +[\d.]+ +[\d.]+ % +\d+$/m);
    expect(slopes(dir)).toEqual(Array.from({ length: 19 }, () => 0.25));
    const plan = JSON.parse(readFileSync(join(dir, 'resnet20.plan.json'), 'utf8')) as {
      passes: string;
    };
    expect(plan.passes).toMatch(
      /,leaky-relu,slope\{alpha=0.25\},find-couplings,find-residual-blocks,/,
    );
    const dumps = readdirSync(join(dir, 'passes')).sort();
    const at = dumps.findIndex((name) => /^\d\d-leaky-relu\.txt$/.test(name));
    const dump = (index: number): string =>
      readFileSync(join(dir, 'passes', dumps[index] ?? 'missing'), 'utf8');
    expect(dumps[0]).toMatch(/^01-[a-z0-9-]+\.txt$/);
    expect(dumps.some((name) => name.endsWith('-upgrade-opset.txt'))).toBe(true);
    expect(dumps.at(-1)).toMatch(/^\d\d-reserve-pools\.txt$/);
    expect(dump(at)).toContain('LeakyRelu');
    expect(dump(at - 1)).not.toContain('LeakyRelu');
  });

  test('runs them between import and couple unless told otherwise', async () => {
    const dir = join(program.folder, 'default');
    await program.json(resnet, '-o', dir, ...FAST, '--pass', leaky);
    expect(slopes(dir)).toHaveLength(19);
    expect(slopes(dir)[0]).toBeCloseTo(0.1);
  });

  test('says why a rewrite changed nothing', async () => {
    const never = module('never.mjs', LEAKY.replace('op.Relu(x)', 'op.Relu(op.Conv(x))'));
    const { stderr } = await program.run(
      ...[resnet, '-o', join(program.folder, 'never'), ...FAST, '--pass', never],
    );
    expect(stderr).toMatch(
      /pass leaky-relu changed nothing: 19 × BatchNormalization stands where the pattern has Conv/,
    );
  });

  test('--list-passes lists every pass, those of the user too', async () => {
    const { code, stdout } = await program.run('--list-passes', '--pass', slope);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ {2}upgrade-opset +bring every node to opset 17$/m);
    expect(stdout).toMatch(/^ {2}slope +set the slope of every LeakyRelu\n +\{alpha=number\}/m);
    expect(stdout).toMatch(/\{recipe=[\w|]*rewire[\w|]*\}/);
  });

  test.each([
    ['--passes', 'import,polish', 'there is no pass "polish"', 'there are: import, couple, '],
    ['--passes', 'import,couple-residual-blocks', 'needs find-residual-blocks before it', ''],
    ['--passes', 'import,differentiate', 'makes train.onnx of rev.onnx', ''],
    ['--passes', 'couple-residual-blocks{recipe=best}', '"best" is not one of', ''],
    ['--dump-after', 'polish', 'no pass called "polish"', 'these run: all, '],
  ])('%s %s: %s', async (option, value, why, hint) => {
    const dir = join(program.folder, 'refused');
    const { code, stdout } = await program.run(resnet, '-o', dir, option, value, '--json');
    expect(code).toBe(2);
    const { error } = JSON.parse(stdout) as { error: { code: string; why: string; hint: string } };
    expect(error.code).toBe('pass/unknown');
    expect(error.why).toContain(why);
    expect(error.hint).toContain(hint);
  });

  test('a failing pass ends the command with one message and code 1', async () => {
    const cut = module(
      'cut.mjs',
      pass('state.model.graph.removeNode([...state.model.graph.nodes][3])'),
    );
    const dir = join(program.folder, 'cut');
    const { code, stderr } = await program.run(resnet, '-o', dir, ...FAST, '--pass', cut);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^error pass\/failed: a pass failed\n {2}where: pass mine\n/);
    expect(stderr).toMatch(/is removed while .* is still read, at .*cut\.mjs:\d+:\d+/);
    expect(stderr).not.toMatch(/^ {4}at /m);
  });

  test('without a model there is a message, not a crash', async () => {
    const { code, stderr } = await program.run('--timing');
    expect(code).toBe(2);
    expect(stderr).toMatch(/missing required argument 'model.onnx'/);
  });
});

/** A module with one pass whose run is this statement. */
const pass = (statement: string): string => `
import { definePass, InlineData, Tensor } from 'revnetify/passes';
export default definePass({
  name: 'mine',
  summary: 'does something',
  run: (state) => {
    const { graph } = state.model;
    const find = (op) => [...graph.nodes].find((node) => node.op === op);
    ${statement};
  },
});
`;
const rewrite = (parts: string): string => `
import { defineRewrite } from 'revnetify/passes';
export default defineRewrite({ name: 'mine', summary: 'does something', ${parts} });
`;
const MATCH = 'match: (op, { x }) => op.Relu(x)';

/** What is wrong, the module, and what the message says: code, where, why and what to do. */
const WRONG: [what: string, text: string, ...says: RegExp[]][] = [
  ['no export', 'const a = 1;', /pass\/invalid/, /it exports nothing/, /export default definePass/],
  ['no pass among the exports', 'export const a = 1;', /it exports no pass, only a \(number\)/],
  [
    'a plain object',
    "export default { name: 'mine', summary: 's', run() {} };",
    /its export default is a plain object/,
    /write export default definePass\(\{ … \}\)/,
  ],
  [
    'a plain rewrite',
    'export const mine = { match() {}, replace() {} };',
    /write export const mine = defineRewrite\(/,
  ],
  ['a syntax error', 'export default {', /cannot be loaded: SyntaxError/, /correct the module/],
  [
    'a package that is not there',
    "import 'nowhere-at-all';",
    /cannot be loaded: Error: Cannot find package 'nowhere-at-all'/,
  ],
  ['an error while loading', "throw new Error('no luck');", /no luck, at wrong\d+\.mjs:1:7/],
  [
    'no name',
    "import { definePass } from 'revnetify/passes'; export default definePass({ run() {} });",
    /pass\/invalid/,
    /its name is missing; a name is lower-case words/,
  ],
  [
    'no run',
    "import { definePass } from 'revnetify/passes'; export default definePass({ name: 'a', summary: 's' });",
    /pass a: its run is missing, not a function/,
  ],
  [
    'the name of another pass',
    pass('').replace("'mine'", "'fold-constants'"),
    /another pass called "fold-constants"/,
  ],
  [
    'it throws',
    pass("throw new TypeError('oh')"),
    /pass\/failed/,
    /it threw oh \(TypeError\), at .*wrong\d+\.mjs:9:/,
  ],
  [
    'it is asynchronous',
    pass('').replace('(state) =>', 'async (state) =>'),
    /returns a promise/,
    /ordinary function/,
  ],
  [
    'it removes a node that is used',
    pass("graph.removeNode(find('Relu'))"),
    /where: pass mine/,
    /is removed while \S+ is still read, at .*wrong\d+\.mjs:9:/,
  ],
  [
    'it makes a cycle',
    pass("const relu = find('Relu'); relu.setInput(0, relu.outputs[0].users[0].output())"),
    /where: pass mine, node \S+ \(Relu\)/,
    /R5 producers-before-users: .* before \S+ computes it/,
    /in a circle/,
  ],
  [
    'it makes a cycle and sorts',
    pass(
      "const relu = find('Relu'); relu.setInput(0, relu.outputs[0].users[0].output()); graph.sort()",
    ),
    /the graph has a cycle through/,
  ],
  [
    'it does not sort',
    pass(
      "const relu = find('Relu'); const n = graph.addNode({ op: 'Neg', inputs: [relu.input(0)], outputs: ['neg'] }); relu.setInput(0, n.output())",
    ),
    /R5 producers-before-users/,
    /call state\.model\.graph\.sort\(\) at the end/,
  ],
  [
    'a wrong type',
    pass("find('Relu').output().type = { dtype: 'float32', shape: [1, 2, 3] }"),
    /R10 types-agree-with-operators/,
    /is said to be float32\[1,2,3\], the operator makes float32\[N,16,32,32\]/,
  ],
  [
    'operands that do not fit',
    pass(
      "find('Add').setInput(0, graph.addConstant('c', new InlineData(Tensor.zeros('float32', [7]))))",
    ),
    /where: pass mine, node \S+ \(Add\)/,
    /R10 types-agree-with-operators/,
  ],
  [
    'a value of no graph',
    pass("const g = new graph.constructor(); find('Relu').setInput(0, g.addInput('x'))"),
    /R4 operands-defined: .*operand x is not an input, constant or result/,
  ],
  [
    'an operand that is not there',
    pass("find('Relu').input(5)"),
    /node \S+ \(Relu\)\n {2}why: {3}it has no operand 5/,
  ],
  [
    'match without return',
    rewrite('match: (op, { x }) => { op.Relu(x); }, replace: () => {}'),
    /is a return missing\?/,
  ],
  [
    'match of a variable',
    rewrite('match: (op, { x }) => x, replace: () => {}'),
    /a variable alone/,
  ],
  [
    'match of an operator that is not called',
    rewrite('match: (op, { x }) => op.Relu(op.Conv), replace: () => {}'),
    /operand 0 of op\.Relu is a function: call it/,
  ],
  ['no replace', rewrite(MATCH), /rewrite mine: its replace is missing, not a function/],
  [
    'replace without return',
    rewrite(`${MATCH}, replace: () => {}`),
    /replace at node \S+ \(Relu\) gives no value for result 0/,
  ],
  [
    'replace throws',
    rewrite(`${MATCH}, replace: () => { throw new Error('oh'); }`),
    /it threw oh \(in replace, at node \S+, Relu\)/,
  ],
  [
    'replace of another shape',
    rewrite(`${MATCH}, replace: ({ x }, { build }) => build.op('GlobalAveragePool', [x])`),
    /gives \S+: float32\[N,16,1,1\] for \S+: float32\[N,16,32,32\]/,
  ],
  [
    'an unknown operator',
    rewrite(`${MATCH}, replace: ({ x }, { build }) => build.op('Reluu', [x])`),
    /no definition of ai\.onnx\.Reluu/,
  ],
  [
    'no end',
    rewrite(`${MATCH}, rounds: 5, replace: ({ x }, { build }) => build.op('Relu', [x])`),
    /still matches after 5 rounds/,
  ],
  [
    'an unknown part',
    rewrite(`match: (op, { x }) => op.Relu(x).as('a'), replace: (v, p) => p.node('b')`),
    /no part of the pattern is called b; there are: a/,
  ],
];

/** Runs every module in one process, as a program that uses the library would. */
const RUNNER = `
import { readModel } from 'revnetify';
import { createState, loadPasses, revPipeline, runPipeline } from 'revnetify/passes';
const [model, ...modules] = process.argv.slice(2);
const results = [];
for (const path of modules) {
  try {
    const passes = await loadPasses(path);
    runPipeline(revPipeline('import', []).before, createState(readModel(model)));
    const state = createState(readModel(model));
    runPipeline([...revPipeline('import').before, ...passes], state);
    results.push('nothing wrong');
  } catch (error) {
    results.push(error.name + ': ' + error.message);
  }
}
console.log(JSON.stringify(results));
`;

describe('the library', () => {
  let results: string[];
  beforeAll(async () => {
    const runner = module('runner.mjs', RUNNER);
    const modules = WRONG.map(([, text], index) => module(`wrong${index}.mjs`, text));
    const { spawn } = await import('node:child_process');
    const child = spawn(process.execPath, [runner, resnet, ...modules, leaky]);
    const { stdout, stderr } = await finished(child);
    expect(stderr).toBe('');
    results = JSON.parse(stdout) as string[];
  }, HOOK_TIMEOUT);

  test('runs a good pass', () => {
    expect(results.at(-1)).toBe('nothing wrong');
  });

  test.each(WRONG.map(([what, , ...says], index) => ({ what, says, index })))(
    'says what is wrong: $what',
    ({ says, index }) => {
      for (const part of says) expect(results[index]).toMatch(part);
      expect(results[index]).toMatch(
        /^DiagnosticError: pass\/(invalid|failed): .*\n {2}where: .+\n {2}why: {3}.+\n {2}do: {4}.+$/,
      );
    },
  );
});
