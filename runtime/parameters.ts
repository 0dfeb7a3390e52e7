// What a training step starts from. In: the plan and the weights of rev.onnx. Out: one array of floats per weight,
// running statistic and tensor of the optimizer (0 at first), by input name. Invariant: every page of every array has been written, so that
// the memory they take is visible before the first step and does not grow with it.

import { join } from 'node:path';
import { DiagnosticError } from '../src/diagnostics/index.js';
import { elementCount } from '../src/ir/index.js';
import type { ConstantData } from '../src/ir/index.js';
import { readModel } from '../src/onnx/index.js';
import type { Plan, PlanInput } from '../src/plan/index.js';
import { stateInputs } from './plan.js';

/** Zeros that are really there: fresh memory is not backed by any until it is written. */
export function touchedZeros(length: number): Float32Array {
  return new Float32Array(length).fill(0);
}

/** @throws DiagnosticError train/invalid where rev.onnx does not hold what the plan names */
export function initialState(dir: string, plan: Plan): Map<string, Float32Array> {
  const path = join(dir, plan.model.rev);
  const constants = new Map<string, ConstantData>();
  for (const { name, constant } of readModel(path).graph.constants)
    if (constant) constants.set(name, constant);
  const state = new Map<string, Float32Array>();
  for (const input of stateInputs(plan)) {
    if (input.role !== 'weight' && input.role !== 'statistic') {
      state.set(input.name, touchedZeros(elementCount(input.shape)));
      continue;
    }
    const constant = constants.get(input.name);
    if (!constant)
      throw new DiagnosticError('train/invalid', path, `it has no weight ${input.name}`);
    state.set(input.name, floats(constant, input, path));
  }
  return state;
}

function floats(constant: ConstantData, input: PlanInput, path: string): Float32Array {
  const fits =
    constant.dtype === 'float32' &&
    constant.dims.length === input.shape.length &&
    constant.dims.every((d, i) => d === input.shape[i]);
  if (!fits)
    throw new DiagnosticError(
      'train/invalid',
      path,
      `${input.name} is ${constant.dtype}[${constant.dims.join(',')}], the plan says float32[${input.shape.join(',')}]`,
    );
  // The bytes may lie anywhere in the file; a copy is aligned, and ours to write to.
  const array = new Float32Array(elementCount(input.shape));
  new Uint8Array(array.buffer).set(constant.bytes());
  return array;
}
