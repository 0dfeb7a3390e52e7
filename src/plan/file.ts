// Plan files. In: a plan, or a path. Out: text, or a plan that has been checked. Invariant: no plan is written or
// read without being held against the schema, and what is not changed stays byte for byte.

import { readFileSync } from 'node:fs';
import { DiagnosticError, invariant } from '../diagnostics/index.js';
import type { DiagnosticCode } from '../diagnostics/index.js';
import { atomicWrite } from '../onnx/index.js';
import { planProblem } from './schema.js';
import type { Plan, PlanMeasurement } from './types.js';

/** The plan as text: two-space JSON with a final newline. */
export function formatPlan(plan: Plan): string {
  const problem = planProblem(plan);
  invariant(problem === undefined, `the plan does not fit its schema: ${problem ?? ''}`);
  return `${JSON.stringify(plan, null, 2)}\n`;
}

/** @throws DiagnosticError code with the path in the file that is wrong */
export function readPlanFile(path: string, code: DiagnosticCode = 'plan/invalid'): Plan {
  let plan: unknown;
  try {
    plan = JSON.parse(readFileSync(path, 'utf8'));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new DiagnosticError(code, path, `it cannot be read: ${why}`);
  }
  const problem = planProblem(plan);
  if (problem !== undefined) throw new DiagnosticError(code, path, problem);
  return plan as Plan;
}

/**
 * Keeps a measurement in a plan file, in place of an earlier one of the same variant; everything else stays.
 * @throws DiagnosticError plan/invalid, usage/output
 */
export function recordMeasurement(path: string, measurement: PlanMeasurement): void {
  const plan = readPlanFile(path);
  const others = plan.measured.filter((m) => m.variant !== measurement.variant);
  atomicWrite(path, formatPlan({ ...plan, measured: [...others, measurement] }));
}
