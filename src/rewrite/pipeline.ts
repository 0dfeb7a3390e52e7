// Pipelines as text: "upgrade-opset,fold-constants,couple-residual-blocks{recipe=rewire}". In: text and the passes
// there are. Out: passes with their options, and the way back. Invariant: parse(print(p)) is p, and what is not
// known is refused with a list of what is.

import { DiagnosticError } from '../diagnostics/index.js';
import { configure } from './pass.js';
import type { OptionValue, Pass, PassOption, PassState } from './pass.js';

/** What the names in a text stand for. */
export interface Vocabulary<S extends PassState> {
  readonly passes: readonly Pass<S>[];
  /** Names for several passes in a row. */
  readonly groups?: Readonly<Record<string, readonly Pass<S>[]>>;
  /** Why a name that is known elsewhere cannot be used here. */
  readonly refused?: ReadonlyMap<string, string>;
}

/** A name with options in braces, then a comma or the end. */
const ITEM =
  /\s*(?<name>[^\s,{}=]*)\s*(?:\{(?<options>(?:"(?:[^"\\]|\\.)*"|[^"{}])*)\})?\s*(?<end>,|$)/y;
const GIVEN = /\s*(?<key>[^\s,{}="]+)\s*=\s*(?<value>"(?:[^"\\]|\\.)*"|[^\s,{}="]*)\s*(?<end>,|$)/y;
/** Values that need no quotes. */
const BARE = /^[^\s,{}="]+$/;

/** @throws DiagnosticError pass/unknown */
export function parsePipeline<S extends PassState>(
  text: string,
  vocabulary: Vocabulary<S>,
): Pass<S>[] {
  const passes = matches(ITEM, text, 'pipeline').flatMap(({ name = '', options }) =>
    lookUp(name, options, vocabulary),
  );
  checkNeeds(passes, vocabulary.passes);
  return passes;
}

/** The passes by name, with the options that were given. */
export const printPipeline = (passes: readonly Pass<never>[]): string =>
  passes.map(printPass).join(',');

function printPass({ name, given }: Pass<never>): string {
  const options = Object.entries(given).map(([key, value]) => {
    const text = String(value);
    return `${key}=${typeof value !== 'string' || BARE.test(text) ? text : JSON.stringify(text)}`;
  });
  return options.length > 0 ? `${name}{${options.join(',')}}` : name;
}

function matches(
  pattern: RegExp,
  text: string,
  where: string,
): Readonly<Record<string, string | undefined>>[] {
  const found: Readonly<Record<string, string | undefined>>[] = [];
  const item = new RegExp(pattern);
  for (let end = ','; end === ',';) {
    const from = item.lastIndex;
    const groups = item.exec(text)?.groups;
    if (!groups)
      throw unknown(
        where,
        `"${text.slice(from, from + 30)}" cannot be read`,
        'a pipeline is NAME or NAME{option=value,…}, with commas between them',
      );
    found.push(groups);
    end = groups['end'] ?? '';
  }
  return found;
}

const unknown = (where: string, why: string, hint?: string): DiagnosticError =>
  new DiagnosticError('pass/unknown', where, why, hint);

function lookUp<S extends PassState>(
  name: string,
  options: string | undefined,
  { passes, groups = {}, refused }: Vocabulary<S>,
): readonly Pass<S>[] {
  if (name === '') throw unknown('pipeline', 'a name is missing');
  const pass = passes.find((p) => p.name === name);
  if (pass) return [options === undefined ? pass : withOptions(pass, options)];
  const group = Object.hasOwn(groups, name) ? groups[name] : undefined;
  if (group) {
    if (options === undefined) return group;
    throw unknown(name, `${name} stands for several passes and takes no options`);
  }
  const reason = refused?.get(name);
  if (reason !== undefined) throw unknown(name, reason);
  const known = [...Object.keys(groups), ...new Set(passes.map((p) => p.name))];
  throw unknown(name, `there is no pass "${name}"`, `there are: ${known.join(', ')}`);
}

function withOptions<S extends PassState>(pass: Pass<S>, text: string): Pass<S> {
  const given: Record<string, OptionValue> = {};
  if (text.trim() === '') return pass;
  for (const { key = '', value = '' } of matches(GIVEN, text, pass.name)) {
    const option = Object.hasOwn(pass.options, key) ? pass.options[key] : undefined;
    if (!option) {
      const names = Object.keys(pass.options);
      throw unknown(
        pass.name,
        `it has no option "${key}"`,
        names.length > 0 ? `its options are: ${names.join(', ')}` : 'it has no options',
      );
    }
    given[key] = parseValue(value, option, `${pass.name}{${key}}`);
  }
  return configure(pass, given);
}

function parseValue(text: string, { type }: PassOption, where: string): OptionValue {
  const word = text.startsWith('"') ? unquoted(text, where) : text;
  const refuse = (wanted: string): DiagnosticError => unknown(where, `"${word}" is not ${wanted}`);
  if (typeof type !== 'string') {
    if (type.includes(word)) return word;
    throw refuse(`one of ${type.join(', ')}`);
  }
  if (type === 'string') return word;
  if (type === 'boolean') {
    if (word === 'true' || word === 'false') return word === 'true';
    throw refuse('true or false');
  }
  const number = Number(word);
  if (word === '' || !Number.isFinite(number)) throw refuse('a number');
  if (type === 'integer' && !Number.isSafeInteger(number)) throw refuse('a whole number');
  return number;
}

function unquoted(text: string, where: string): string {
  try {
    return JSON.parse(text) as string;
  } catch {
    throw unknown(where, `${text} is not a valid string`);
  }
}

function checkNeeds<S extends PassState>(
  passes: readonly Pass<S>[],
  all: readonly Pass<S>[],
): void {
  const done = new Set<string>();
  for (const { name, needs } of passes) {
    for (const need of needs)
      if (!done.has(need)) {
        const there = all.some((p) => p.name === need);
        throw unknown(
          name,
          `it needs ${need} before it${there ? '' : ', which does not exist'}`,
          there ? `write …,${need},${name},…` : undefined,
        );
      }
    done.add(name);
  }
}
