// Pipelines as text, and what is refused of passes and of text.

import { describe, expect, test } from 'vitest';
import { DiagnosticError } from '../../src/diagnostics/index.js';
import { Model } from '../../src/ir/index.js';
import {
  configure,
  definePass,
  parsePipeline,
  printPipeline,
  runPipeline,
} from '../../src/rewrite/index.js';
import type { PassOption, PassState } from '../../src/rewrite/index.js';

const seen: unknown[] = [];
const options = {
  word: { summary: 'a word', type: ['red', 'dark blue'], default: 'red' },
  text: { summary: 'any text', type: 'string' },
  size: { summary: 'a whole number', type: 'integer', default: 3 },
  rate: { summary: 'a number', type: 'number' },
  fast: { summary: 'yes or no', type: 'boolean' },
} as const satisfies Record<string, PassOption>;
const paint = definePass<PassState, typeof options>({
  name: 'paint',
  summary: 'paints',
  options,
  run: (_, given) => void seen.push(given),
});
const dry = definePass({ name: 'dry', summary: 'waits', needs: ['paint'], run: () => undefined });
const clean = definePass({ name: 'clean', summary: 'cleans', run: () => undefined });
const vocabulary = {
  passes: [paint, dry, clean],
  groups: { all: [paint, dry] },
  refused: new Map([['sell', 'sell comes later by itself']]),
};
const parse = (text: string): ReturnType<typeof parsePipeline<PassState>> =>
  parsePipeline(text, vocabulary);

describe('text', () => {
  test.each([
    ['paint', 'paint'],
    [' paint , dry ', 'paint,dry'],
    ['all,clean', 'paint,dry,clean'],
    ['clean,clean', 'clean,clean'],
    ['paint{}', 'paint'],
    ['paint{size=4}', 'paint{size=4}'],
    ['paint{ size = -4 , rate=1e-3,fast=true }', 'paint{size=-4,rate=0.001,fast=true}'],
    [
      'paint{word="dark blue",text="a \\"b\\", {c}"}',
      'paint{word="dark blue",text="a \\"b\\", {c}"}',
    ],
    ['paint{text=""},clean', 'paint{text=""},clean'],
  ])('%s', (text, printed) => {
    expect(printPipeline(parse(text))).toBe(printed);
    expect(printPipeline(parse(printed))).toBe(printed);
  });

  test('a pass runs with what was given, and defaults for the rest', () => {
    const [pass] = parse('paint{text=x,size=4}');
    if (pass) runPipeline([pass], { model: new Model() });
    expect(seen.pop()).toEqual({
      word: 'red',
      text: 'x',
      size: 4,
      rate: undefined,
      fast: undefined,
    });
    runPipeline([configure(paint, { fast: true })], { model: new Model() });
    expect(seen.pop()).toMatchObject({ word: 'red', size: 3, fast: true });
  });

  test.each([
    ['', 'a name is missing', 'revnetify --list-passes'],
    ['paint,', 'a name is missing', ''],
    ['polish', 'there is no pass "polish"', 'there are: all, paint, dry, clean'],
    ['toString', 'there is no pass "toString"', ''],
    ['sell', 'sell comes later by itself', ''],
    ['paint{size=4', '"paint{size=4" cannot be read', 'NAME{option=value,…}'],
    ['paint}', '"paint}" cannot be read', ''],
    ['paint dry', '"paint dry" cannot be read', ''],
    [
      'paint{colour=red}',
      'it has no option "colour"',
      'its options are: word, text, size, rate, fast',
    ],
    ['clean{size=4}', 'it has no option "size"', 'it has no options'],
    ['all{size=4}', 'all stands for several passes', ''],
    ['paint{size}', '"size" cannot be read', ''],
    ['paint{size=x}', '"x" is not a number', ''],
    ['paint{size=1.5}', '"1.5" is not a whole number', ''],
    ['paint{rate=}', '"" is not a number', ''],
    ['paint{fast=yes}', '"yes" is not true or false', ''],
    ['paint{word=green}', '"green" is not one of red, dark blue', ''],
    ['paint{text="\\x"}', 'not a valid string', ''],
    ['dry', 'it needs paint before it', 'write …,paint,dry,…'],
    ['dry,paint', 'it needs paint before it', ''],
  ])('"%s" is refused: %s', (text, why, hint) => {
    const error = thrown(() => parse(text));
    expect(error.code).toBe('pass/unknown');
    expect(error.why).toContain(why);
    expect(error.hint).toContain(hint);
  });
});

function thrown(body: () => unknown): DiagnosticError {
  try {
    body();
  } catch (error) {
    if (error instanceof DiagnosticError) return error;
    throw error;
  }
  throw new Error('nothing was thrown');
}

describe('declarations that are no passes', () => {
  const run = (): undefined => undefined;
  test.each<[string, unknown]>([
    ['it was called with missing', undefined],
    ['it was called with a function', run],
    ['its name is missing', { summary: 's', run }],
    ['its name is "My pass"', { name: 'My pass', summary: 's', run }],
    ['its summary is missing', { name: 'a', run }],
    ['its run is missing', { name: 'a', summary: 's' }],
    ['its run is an object', { name: 'a', summary: 's', run: {} }],
    ['its needs are "b"', { name: 'a', summary: 's', run, needs: 'b' }],
    ['its options are a list', { name: 'a', summary: 's', run, options: [] }],
    ['option x is "int"', { name: 'a', summary: 's', run, options: { x: { type: 'int' } } }],
    ['option x is missing', { name: 'a', summary: 's', run, options: { x: null } }],
  ])('%s', (why, init) => {
    const error = thrown(() => definePass(init as Parameters<typeof definePass>[0]));
    expect(error.code).toBe('pass/invalid');
    expect(error.why).toContain(why);
  });
});
