// What a pass is. In: its name, one line about it, its options and what it does. Out: a pass a pipeline can run.
// Invariant: whatever is made here has the form the pipeline relies on, or is refused with what is wrong with it.

import { DiagnosticError } from '../diagnostics/index.js';
import type { Model } from '../ir/index.js';

/** What every state a pass works on holds at least. */
export interface PassState {
  readonly model: Model;
}

export type OptionValue = string | number | boolean;
type OptionType = 'string' | 'number' | 'integer' | 'boolean' | readonly string[];

/** One option of a pass, given as text: `couple-residual-blocks{recipe=rewire}`. */
export interface PassOption {
  /** One line for --list-passes. */
  readonly summary: string;
  /** A kind of value, or the words it may be. */
  readonly type: OptionType;
  /** Without one the option is not set unless it is given. */
  readonly default?: OptionValue;
}

type OptionRecord = Readonly<Record<string, OptionValue | undefined>>;
type OptionTable = Readonly<Record<string, PassOption>>;

type ValueOf<T> = T extends 'boolean'
  ? boolean
  : T extends 'number' | 'integer'
    ? number
    : T extends readonly (infer Word)[]
      ? Word
      : string;

/** The values a pass is run with: an option with a default is always there. */
export type OptionValues<O extends OptionTable> = {
  readonly [K in keyof O]: O[K] extends { readonly default: OptionValue }
    ? ValueOf<O[K]['type']>
    : ValueOf<O[K]['type']> | undefined;
};

/** What a pass did, where it can say so. */
export interface Outcome {
  /** Places that were changed. */
  readonly changes: number;
  /** Why places that might have been changed were not, and how often. */
  readonly reasons: ReadonlyMap<string, number>;
}

/** What definePass takes. S is the state it works on, O its options. */
export interface PassInit<S extends PassState, O extends OptionTable> {
  /** Words of lower-case letters and digits with hyphens between them: "couple-residual-blocks". */
  readonly name: string;
  /** One line for --list-passes. */
  readonly summary: string;
  readonly options?: O;
  /** Names of passes that must have run before. */
  readonly needs?: readonly string[];
  /** What it returns is an Outcome, or nothing. */
  run(state: S, options: OptionValues<O>): unknown;
}

/** One rewriting step. */
export interface Pass<S extends PassState = PassState> {
  readonly name: string;
  readonly summary: string;
  readonly options: OptionTable;
  readonly needs: readonly string[];
  /** The options that were given, for a pass configured by `configure`. */
  readonly given: Readonly<Record<string, OptionValue>>;
  /** Part of this package. Others are checked more closely, and blamed for their faults. */
  readonly builtIn: boolean;
  /** @param options default: what was given, else the defaults */
  run(state: S, options?: OptionRecord): unknown;
}

/** Told what each pass did: timing, dumps. */
export interface Instrument {
  afterPass(name: string, model: Model, milliseconds: number, outcome?: Outcome): void;
}

const made = new WeakSet<object>();

/** Tells a pass from any other object; of this copy of the package, because two copies do not mix. */
export const isPass = (value: unknown): value is Pass =>
  typeof value === 'object' && value !== null && made.has(value);

const register = <P extends object>(pass: P): P => {
  made.add(pass);
  return pass;
};

const NAME = /^[a-z][a-z0-9]*(-[a-z0-9]+)*$/;
const KINDS: readonly unknown[] = ['string', 'number', 'integer', 'boolean'];

/**
 * Declares a pass.
 * @throws DiagnosticError pass/invalid saying what is wrong with the declaration
 */
export function definePass<S extends PassState, const O extends OptionTable = OptionTable>(
  init: PassInit<S, O>,
  builtIn = false,
): Pass<S> {
  checkInit(init);
  const { name, summary, options = {}, needs = [] } = init;
  return register<Pass<S>>({
    name,
    summary,
    options,
    needs,
    given: {},
    builtIn,
    run(this: Pass<S>, state, values = optionsOf(this)) {
      return init.run(state, values as OptionValues<O>);
    },
  });
}

/** The same pass with some options given: taken as they are. */
export function configure<S extends PassState>(
  pass: Pass<S>,
  given: Readonly<Record<string, OptionValue>>,
): Pass<S> {
  return register({ ...pass, given: { ...pass.given, ...given } });
}

function optionsOf({ options, given }: Pass<never>): OptionRecord {
  const values: Record<string, OptionValue | undefined> = {};
  for (const [name, option] of Object.entries(options)) values[name] = option.default;
  return { ...values, ...given };
}

/** Shows a value of the wrong kind in a message. */
const shown = (value: unknown): string => {
  if (typeof value === 'function') return 'a function';
  if (typeof value === 'object' && value !== null)
    return Array.isArray(value) ? 'a list' : 'an object';
  return value === undefined ? 'missing' : JSON.stringify(value);
};

/** Users write passes in JavaScript: the declared types say only what should come. */
function checkInit(init: unknown): void {
  const bad = (where: string, why: string): DiagnosticError =>
    new DiagnosticError('pass/invalid', where, why);
  if (typeof init !== 'object' || init === null)
    throw bad(
      'definePass(…)',
      `it was called with ${shown(init)}, not with { name, summary, run }`,
    );
  const { name, summary, run, options, needs } = init as Readonly<Record<string, unknown>>;
  if (typeof name !== 'string' || !NAME.test(name))
    throw bad(
      'definePass(…)',
      `its name is ${shown(name)}; a name is lower-case words with hyphens, like "fuse-pads"`,
    );
  const where = `pass ${name}`;
  if (typeof summary !== 'string' || summary.trim() === '')
    throw bad(where, `its summary is ${shown(summary)}, not one line of text`);
  if (typeof run !== 'function')
    throw bad(where, `its run is ${shown(run)}, not a function (state, options) => { … }`);
  if (needs !== undefined && !(Array.isArray(needs) && needs.every((n) => typeof n === 'string')))
    throw bad(where, `its needs are ${shown(needs)}, not a list of names of passes`);
  if (options === undefined) return;
  if (typeof options !== 'object' || options === null || Array.isArray(options))
    throw bad(where, `its options are ${shown(options)}, not an object of { summary, type }`);
  for (const [key, option] of Object.entries(options as Readonly<Record<string, unknown>>)) {
    const type = (option as { type?: unknown } | null | undefined)?.type;
    const words =
      Array.isArray(type) && type.length > 0 && type.every((w) => typeof w === 'string');
    if (!words && !KINDS.includes(type))
      throw bad(
        where,
        `the type of its option ${key} is ${shown(type)}, not one of ${KINDS.join(', ')} or a list of words`,
      );
  }
}
