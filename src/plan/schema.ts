// Is this a plan? In: anything that was parsed from JSON. Out: a Plan, or the place in it that is wrong and why.
// Invariant: what passes has the fields of types.ts; fields that a later version added are let through.

import { readFileSync } from 'node:fs';
import { Ajv } from 'ajv';
import type { ErrorObject, ValidateFunction } from 'ajv';
import { PLAN_SCHEMA_VERSION } from './types.js';
import type { Plan } from './types.js';

let compiled: ValidateFunction<Plan> | undefined;

/** Compiled when first needed: most commands never read a plan. */
function validator(): ValidateFunction<Plan> {
  if (!compiled) {
    const url = new URL('plan.schema.json', import.meta.url);
    const schema = JSON.parse(readFileSync(url, 'utf8')) as object;
    compiled = new Ajv({ allowUnionTypes: true }).compile<Plan>(schema);
  }
  return compiled;
}

/** What is wrong with a plan, in one sentence that names the place; undefined if nothing is. */
export function planProblem(value: unknown): string | undefined {
  const version = (value as { schemaVersion?: unknown } | null | undefined)?.schemaVersion;
  if (version !== PLAN_SCHEMA_VERSION)
    return `its schemaVersion is ${shown(version)}, this version of revnetify reads ${PLAN_SCHEMA_VERSION}`;
  const validate = validator();
  if (validate(value)) return undefined;
  const [error] = validate.errors ?? [];
  return error ? describe(error, value) : 'it does not have the form of a plan';
}

function describe({ instancePath, keyword, params, message }: ErrorObject, plan: unknown): string {
  const keys = instancePath.split('/').slice(1);
  const missing: unknown = keyword === 'required' ? params['missingProperty'] : undefined;
  if (typeof missing === 'string') return `${jsonPath([...keys, missing])} is missing`;
  const allowed: unknown = keyword === 'enum' ? params['allowedValues'] : undefined;
  const wanted = Array.isArray(allowed) ? `must be one of ${allowed.join(', ')}` : message;
  return `${jsonPath(keys)} is ${shown(at(plan, keys))}: it ${wanted ?? 'is wrong'}`;
}

const unescaped = (key: string): string => key.replaceAll('~1', '/').replaceAll('~0', '~');

/** "/inputs/3/role" as one would write it: inputs[3].role */
const jsonPath = (keys: readonly string[]): string =>
  keys.length === 0
    ? 'the plan'
    : keys
        .map(unescaped)
        .map((key) => (/^\d+$/.test(key) ? `[${key}]` : `.${key}`))
        .join('')
        .replace(/^\./, '');

function at(value: unknown, keys: readonly string[]): unknown {
  return keys.reduce<unknown>(
    (v, key) =>
      typeof v === 'object' && v !== null
        ? (v as Readonly<Record<string, unknown>>)[unescaped(key)]
        : undefined,
    value,
  );
}

function shown(value: unknown): string {
  if (Array.isArray(value)) return 'a list';
  if (typeof value === 'object' && value !== null) return 'an object';
  return value === undefined ? 'missing' : JSON.stringify(value).slice(0, 60);
}
