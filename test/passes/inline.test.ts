// Functions of the model and branches that are known beforehand: written out, the model computes what it did.

import { describe, expect, test } from 'vitest';
import { createState, importPipeline, runPipeline } from '../../passes/index.js';
import type { CompileState } from '../../passes/index.js';
import { inlineBranchesPass } from '../../passes/inline-branches.js';
import { inlineFunctionsPass } from '../../passes/inline-functions.js';
import { foldConstants } from '../../passes/fold-constants.js';
import { upgradeOpset } from '../../passes/upgrade-opset.js';
import { Tensor } from '../../src/ir/index.js';
import type { Model } from '../../src/ir/index.js';
import { parse } from '../../src/ir/parse.js';
import { assertValid } from '../../src/ir/verify.js';
import { decodeModel, encodeModel } from '../../src/onnx/index.js';
import { inlineFunctions } from '../../src/rewrite/inline/index.js';
import { Random } from '../../src/ops/index.js';
import { difference, runBytes } from '../ops/support.js';

const x = new Random(4).tensor([2, 3, 4]);
const yes = Tensor.of('bool', [1], [1]);

/** A model of one input x and perhaps a condition c, whose functions and nodes are given as text. */
const modelOf = (
  nodes: string,
  { functions = '', opset = 17, declared = '', inputs = 'float[N,3,4] x' } = {},
): Model =>
  parse(`<
  ir_version: 10, opset_import: ["": ${opset}, "own": 1], producer_name: "", metadata_props: []
>
main (${inputs}) => (y)
<
  float[] y
  ${declared}
>
{
  ${nodes}
}
${functions}`);

const opsOf = ({ graph }: Model): string[] => [...graph.nodes].map((n) => n.op);

/**
 * Runs passes, and compares what ONNX Runtime computes before and after.
 * @param plain what stands for the model in ONNX Runtime, where that cannot load it itself
 */
async function check(
  model: Model,
  passes: readonly (typeof foldConstants)[],
  feeds: Record<string, Tensor> = { x },
  plain = model,
): Promise<CompileState> {
  // From bytes, as a user's model comes.
  const read = decodeModel(encodeModel(model).bytes);
  const want = (await runBytes(encodeModel(plain).bytes, feeds)).get('y');
  const state = createState(read);
  runPipeline(passes, state);
  assertValid(read);
  const got = (await runBytes(encodeModel(read).bytes, feeds)).get('y');
  if (!want || !got) throw new Error('no result');
  expect(difference(got, want)).toBeLessThan(1e-6);
  return state;
}

const SCALE = `
<domain: "own", opset_import: ["": 17]>
Scale <> <by: float = 3, mode: string = "reflect"> (a, shift) => (r)
{
  [k] k = Constant <value_float: float = @by> ()
  [m] m = Mul (a, k)
  [z] z = Sum (m, shift)
  [s] r = Elu <alpha: float = @alpha> (z)
}`;

describe('functions', () => {
  test('attributes given and by default, without a value, operands left out', async () => {
    const { model, notes } = await check(
      modelOf(
        `[one] a = own.Scale <by: float = 0.5> (x, x)
         [two] b = own.Scale (a, a)
         [last] y = Relu (b)`,
        { functions: SCALE },
      ),
      [inlineFunctionsPass],
    );
    expect(model.functions).toEqual([]);
    expect(opsOf(model)).toEqual(
      ['Constant', 'Mul', 'Sum', 'Elu', 'Constant', 'Mul', 'Sum', 'Elu', 'Relu'],
    ); // prettier-ignore
    expect([...model.graph.nodes][3]?.outputs.map((v) => v?.name)).toEqual(['a']);
    expect([...model.graph.nodes][3]?.attributes.size).toBe(0);
    expect(notes.join()).toContain('2 calls');
  });

  test('an optional operand that is left out', async () => {
    const { model } = await check(
      modelOf(`[c] y = own.Bound (x, "", high)`, {
        declared: 'float high = {0.25}',
        functions: `
<domain: "own", opset_import: ["": 17]>
Bound <> <> (a, low, high) => (r)
{
  [s] b = Sin (a)
  [c] r = Clip (b, low, high)
}`,
      }),
      [inlineFunctionsPass],
    );
    expect([...model.graph.nodes][1]?.inputs.map((v) => v?.name)).toEqual([
      'c/b',
      undefined,
      'high',
    ]);
  });

  test('that call others, by overload', async () => {
    const one = (overload: string, op: string): string => `
<domain: "own", overload: "${overload}", opset_import: ["": 17]>
F <> <> (a) => (r)
{
  [n] r = ${op} (a)
}`;
    const { model } = await check(
      modelOf('[g] y = own.G (x)', {
        functions: `
<domain: "own", opset_import: ["": 17, "own": 1]>
G <> <> (a) => (r)
{
  [f1] b = own.F:first (a)
  [f2] r = own.F:second (b)
}${one('first', 'Abs')}${one('second', 'Sqrt')}`,
      }),
      [inlineFunctionsPass],
      { x },
      modelOf('[a] a = Abs (x) [y] y = Sqrt (a)'),
    );
    expect(opsOf(model)).toEqual(['Abs', 'Sqrt']);
    expect([...model.graph.nodes].map((n) => n.name)).toEqual(['g/f1/n', 'g/f2/n']);
  });

  test('written in another opset than the model', async () => {
    // Before opset 13 Softmax normalises over all axes from `axis` on.
    const { model, opsets } = await check(
      modelOf('[f] y = own.F (x)', {
        functions: `
<domain: "own", opset_import: ["": 11]>
F <> <> (a) => (r)
{
  [s] b = Softmax <axis: int = 1> (a)
  [u] r = Unsqueeze <axes: ints = [0]> (b)
}`,
      }),
      [inlineFunctionsPass, upgradeOpset],
      { x },
      modelOf('[s] a = Softmax <axis: int = 1> (x) [y] y = Unsqueeze <axes: ints = [0]> (a)', {
        opset: 11,
      }),
    );
    expect(model.opset).toBe(17);
    expect(opsets.size).toBe(0);
    expect(opsOf(model)).toContain('Reshape');
  });

  test('of a model that imports ai.onnx only in them', () => {
    const model = modelOf('[f] y = own.Scale (x, x)', { functions: SCALE });
    model.opsets.delete('');
    runPipeline([inlineFunctionsPass, upgradeOpset], createState(model));
    expect(model.opset).toBe(17);
  });

  test('results that are operands, and one result twice', async () => {
    const { model } = await check(
      modelOf(
        `[f] a, b, c = own.F (x)
         [s] y = Sum (a, b, c)`,
        {
          functions: `
<domain: "own", opset_import: ["": 17]>
F <> <> (a) => (a, r, r)
{
  [n] r = Abs (a)
}`,
        },
      ),
      [inlineFunctionsPass],
      { x },
      modelOf('[a] a = Abs (x) [s] y = Sum (x, a, a)'),
    );
    expect(model.functions).toEqual([]);
  });

  test('with graphs inside that read local values, called twice', async () => {
    const { model } = await check(
      modelOf(
        `[f] a = own.F <by: float = 2> (x, c)
         [g] y = own.F (a, c)`,
        {
          inputs: 'float[N,3,4] x, bool[1] c',
          functions: `
<domain: "own", opset_import: ["": 17]>
F <> <by: float = 0.5> (a, c) => (r)
{
  [n] b = Abs (a)
  [if] r = If <then_branch: graph = then () => (t)
    <
    >
    {
      [k] k = Constant <value_float: float = @by> ()
      [t] t = Mul (b, k)
    }, else_branch: graph = other () => (e)
    <
    >
    {
      [e] e = Neg (b)
    }> (c)
}`,
        },
      ),
      [inlineFunctionsPass],
      { x, c: yes },
    );
    expect(opsOf(model)).toEqual(['Abs', 'If', 'Abs', 'If']);
    const captured = [...model.graph.nodes].flatMap((n) => n.captures.map((v) => v.name));
    expect(captured).toEqual(['f/b', 'g/b']);
  });

  test('a graph that is handed over as an attribute', () => {
    const model = modelOf(
      `[n] b = Neg (x)
       [f] y = own.F <then: graph = then () => (t)
       <
       >
       {
         [t] t = Mul (b, b)
       }> (x, c) captures (b)`,
      {
        inputs: 'float[N,3,4] x, bool[1] c',
        functions: `
<domain: "own", opset_import: ["": 17]>
F <then> <> (a, c) => (r)
{
  [n] b = Abs (a)
  [if] r = If <then_branch: graph = @then, else_branch: graph = other () => (e)
    <
    >
    {
      [e] e = Neg (b)
    }> (c)
}`,
      },
    );
    runPipeline([inlineFunctionsPass], createState(model));
    const branches = [...model.graph.nodes].find((n) => n.op === 'If');
    expect(branches?.captures.map((v) => v.name)).toEqual(['b', 'f/b']);
    const then = branches?.attributes.get('then_branch');
    expect(then?.kind === 'graph' && then.value.nodes[0]?.inputs).toEqual(['b', 'b']);
  });

  test.each([
    ['calls itself', '[n] r = own.F (a)', 'own.F (x)'],
    ['takes 1 operands', '[n] r = Abs (a)', 'own.F (x, x)'],
    ['"q", which nothing defines', '[n] r = Add (a, q)', 'own.F (x)'],
    ['"a" is defined a second time', '[n] a = Abs (a)', 'own.F (x)'],
    ['"r", which nothing defines', '[n] q = Abs (a)', 'own.F (x)'],
  ])('is refused: %s', (why, body, call) => {
    const model = modelOf(`[call] y = ${call}`, {
      functions: `<domain: "own", opset_import: ["": 17]> F <> <> (a) => (r) { ${body} }`,
    });
    expect(() => {
      runPipeline([inlineFunctionsPass], createState(model));
    }).toThrow(new RegExp(`^model/invalid[^]*own.F[^]*${why}`));
  });

  test('that double at every level are refused before memory is gone', () => {
    const functions = Array.from(
      { length: 40 },
      (_, i) =>
        `<domain: "own", opset_import: ["": 17]> F${i} <> <> (a) => (r)
         { [n] b = own.F${i + 1} (a) [m] r = own.F${i + 1} (b) }`,
    );
    const model = modelOf('[call] y = own.F0 (x)', {
      functions: `${functions.join('\n')}
<domain: "own", opset_import: ["": 17]> F40 <> <> (a) => (r) { [n] r = Abs (a) }`,
    });
    expect(() => inlineFunctions(model, new Map(), 1000)).toThrow(
      /^model\/invalid[^]*more than 1000 nodes/,
    );
  });
});

const branch = (name: string, node: string, declared = ''): string =>
  `${name}_branch: graph = ${name} () => (${name[0] ?? ''})
   <
     ${declared}
   >
   {
     [n] ${name[0] ?? ''} = ${node}
   }`;

describe('If', () => {
  const both = [inlineFunctionsPass, upgradeOpset, foldConstants, inlineBranchesPass];

  test.each([
    ['1', 'Sin'],
    ['0', 'Add'],
  ])('with the condition %s becomes %s', async (condition, op) => {
    const { model, notes } = await check(
      modelOf(
        `[h] h = Abs (x)
         [if] i = If <${branch('then', 'Sin (h)')}, ${branch('else', 'Add (h, w)', 'float[4] w = {1, 2, 3, 4}')}> (c) captures (h)
         [y] y = Neg (i)`,
        { declared: `bool c = {${condition}}` },
      ),
      both,
    );
    expect(opsOf(model)).toEqual(['Abs', op, 'Neg']);
    expect(notes.join()).toContain('1 If');
  });

  test('in an If, with a call in it, in an older opset, by a computed condition', async () => {
    const inner = `If <${branch('then', 'own.Twice (h)')}, ${branch('else', 'Abs (x)')}> (c)`;
    const { model } = await check(
      modelOf(
        `[h] h = Abs (x)
         [s] s = Shape (x)
         [g] d = Gather (s, one)
         [e] c = Equal (d, three)
         [if] i = If <${branch('then', inner)}, ${branch('else', 'Neg (h)')}> (c) captures (h, c, x)
         [y] y = Neg (i)`,
        {
          opset: 11,
          declared: 'int64 one = {1} int64 three = {3}',
          functions: `
<domain: "own", opset_import: ["": 11]>
Twice <> <> (a) => (r)
{
  [u] b = Unsqueeze <axes: ints = [0]> (a)
  [s] c = Softmax <axis: int = 1> (b)
  [q] d = Squeeze <axes: ints = [0]> (c)
  [m] r = Add (d, d)
}`,
        },
      ),
      both,
      { x },
      modelOf(
        `[h] h = Abs (x)
         [u] b = Unsqueeze <axes: ints = [0]> (h)
         [s] c = Softmax <axis: int = 1> (b)
         [q] d = Squeeze <axes: ints = [0]> (c)
         [m] r = Add (d, d)
         [y] y = Neg (r)`,
        { opset: 11 },
      ),
    );
    expect(opsOf(model)).not.toContain('If');
    expect(opsOf(model)).toContain('Softmax');
    expect(model.functions).toEqual([]);
  });

  test('whose branch hands an outer value through', async () => {
    const { model } = await check(
      modelOf(
        `[h] h = Abs (x)
         [if] i = If <then_branch: graph = then () => (h)
         <
         >
         {
         }, ${branch('else', 'Neg (h)')}> (c) captures (h)
         [y] y = Neg (i)`,
        { declared: 'bool c = {1}' },
      ),
      both,
      { x },
      modelOf('[h] h = Abs (x) [y] y = Neg (h)'),
    );
    expect(opsOf(model).filter((op) => op !== 'Identity')).toEqual(['Abs', 'Neg']);
  });

  test.each([['If'], ['Loop'], ['Scan']])('what the data decides is refused: %s', (op) => {
    const model = modelOf(`[node] y = ${op} <${branch('then', 'Abs (x)')}> (c) captures (x)`, {
      inputs: 'float[N,3,4] x, bool[1] c',
    });
    expect(() => {
      runPipeline(importPipeline, createState(model));
    }).toThrow(new RegExp(`^op/unsupported[^]*node node \\(${op}\\)[^]*by tracing`));
  });
});

test('a whole network in functions and branches couples as one without', () => {
  const block = (i: number): string =>
    `[b${i}] h${i + 1} = own.Block <index: int = ${i}> (h${i}, w)`;
  const model = modelOf(
    `[first] h0 = Identity (x)
     ${[0, 1, 2].map(block).join('\n')}
     [y] y = Flatten (h3)`,
    {
      declared: 'float[4,4] w = {1,0,0,0, 0,1,0,0, 0,0,1,0, 0,0,0,1}',
      functions: `
<domain: "own", opset_import: ["": 17]>
Block <index> <> (a, w) => (r)
{
  [yes] yes = Constant <value: tensor = bool {1}> ()
  [if] f = If <${branch('then', 'MatMul (a, w)')}, ${branch('else', 'Neg (a)')}> (yes)
  [n] g = Relu (f)
  [add] r = Add (a, g)
}`,
    },
  );
  runPipeline(importPipeline, createState(model));
  expect(opsOf(model)).toEqual(
    ['MatMul', 'Relu', 'Add', 'MatMul', 'Relu', 'Add', 'MatMul', 'Relu', 'Add', 'Flatten'],
  ); // prettier-ignore
});
