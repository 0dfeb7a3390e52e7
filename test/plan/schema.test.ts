// The published schema of the plan: the same as the types, and what it refuses. After a change of src/plan/types.ts
// `npm run schema` writes the schema anew; without that the first test fails.

import { readFileSync } from 'node:fs';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import { createGenerator } from 'ts-json-schema-generator';
import { beforeAll, describe, expect, test } from 'vitest';
import { compile } from '../../src/compiler/index.js';
import { readModel } from '../../src/onnx/index.js';
import { formatPlan, planProblem } from '../../src/plan/index.js';
import type { Plan } from '../../src/plan/index.js';

const root = fileURLToPath(new URL('../..', import.meta.url));
const SCHEMA = `${root}src/plan/plan.schema.json`;

function generated(additionalProperties: boolean): object {
  const generator = createGenerator({
    path: `${root}src/plan/types.ts`,
    tsconfig: `${root}tsconfig.json`,
    type: 'Plan',
    topRef: false,
    sortProps: false,
    // Readers let fields through that a later version added.
    additionalProperties,
  });
  return {
    $id: 'https://www.npmjs.com/package/revnetify/plan.schema.json',
    title: 'revnetify plan',
    ...generator.createSchema('Plan'),
  };
}

test('the schema says what the types say (npm run schema)', async () => {
  await expect(`${JSON.stringify(generated(true), null, 2)}\n`).toMatchFileSnapshot(SCHEMA);
});

describe('a real plan', () => {
  let plan: Plan;
  beforeAll(() => {
    const model = readModel(`${root}fixtures/resnet20.onnx`);
    plan = compile(model, { name: 'resnet20', source: 'resnet20.onnx', batch: 2 }).plan;
  });
  /** The plan with the value at a path replaced; undefined = removed. */
  const changed = (path: string, value?: unknown): unknown => {
    const copy = JSON.parse(JSON.stringify(plan)) as Readonly<Record<string, unknown>>;
    const keys = path.split('.');
    const last = keys.pop() ?? '';
    const parent = keys.reduce<unknown>((at, key) => (at as Record<string, unknown>)[key], copy);
    if (value === undefined) Reflect.deleteProperty(parent as object, last);
    else Reflect.set(parent as object, last, value);
    return copy;
  };

  test('fits, and holds nothing that the types do not know', () => {
    expect(planProblem(plan)).toBeUndefined();
    const strict = new Ajv({ allowUnionTypes: true }).compile(generated(false));
    strict(JSON.parse(formatPlan(plan)));
    expect(strict.errors).toBeNull();
  });

  test('is read by any validator of JSON Schema', () => {
    const schema = JSON.parse(readFileSync(SCHEMA, 'utf8')) as object;
    expect(new Ajv({ strict: true, allowUnionTypes: true }).validate(schema, plan)).toBe(true);
  });

  test.each([
    ['memory.plan.peakBytes', undefined, 'memory.plan.peakBytes is missing'],
    ['memory.plan.peakBytes', '1', 'memory.plan.peakBytes is "1": it must be integer'],
    ['memory.plan.peakBytes', -1, 'memory.plan.peakBytes is -1: it must be >= 0'],
    ['inputs.3.role', 'salary', 'inputs[3].role is "salary": it must be one of images, labels'],
    ['units.0.policy', 'hope', 'units[0].policy is "hope": it must be one of'],
    ['chains', {}, 'chains is an object: it must be array'],
    ['notes', [1], 'notes[0] is 1: it must be string'],
    ['model', undefined, 'model is missing'],
    ['schemaVersion', 99, 'its schemaVersion is 99'],
  ])('damage at %s: %s', (path, value, message) => {
    expect(planProblem(changed(path, value))).toContain(message);
  });

  test('a field of a later version is no damage', () => {
    expect(planProblem(changed('later', 1))).toBeUndefined();
    expect(planProblem(changed('memory.later', 1))).toBeUndefined();
  });

  test('what is no plan at all', () => {
    for (const other of [null, 1, 'plan', [], {}])
      expect(planProblem(other)).toMatch(/schemaVersion/);
  });

  test('a plan that does not fit is not written', () => {
    expect(() => formatPlan(changed('units') as Plan)).toThrow(/units is missing/);
  });
});
