// Memory of a built step, as the plan reports it. In: a built step. Out: steps, buffers, peak by category.
// Invariant: weights, optimizer state, batch and preallocated outputs are not counted: the caller holds them.
//
// activationBytes is the largest sum of buffers the executor has asked its allocator for and not yet given back; it
// contains what its plan holds between two tensors in one buffer (memory/executor.ts). peakBytes is how much memory
// has been touched by the end of the step: the same and the operators' workspace, as the allocator lays them out.

import type { CompileState } from '../../passes/index.js';
import { invariant } from '../diagnostics/index.js';
import { ELEMENT_BYTES, isStatic } from '../ir/index.js';
import type { Node, Value } from '../ir/index.js';
import { holdAtBorders, layOut, profile, simulate, workspaceBytes } from '../memory/index.js';
import type { Execution, Profile } from '../memory/index.js';
import { LOSS_UNIT, cutSegments, isSegmented } from '../plan/index.js';
import type { Allocator, BufferCategory, PlanBuffer, PlanMemory, PlanStep } from '../plan/index.js';

/** Buffers below this size (scalars, channel statistics, shapes) are not listed one by one in the plan. */
const LISTED_BYTES = 64 * 1024;

function categories(state: CompileState): (value: Value) => BufferCategory {
  const streams = new Set<Value>();
  for (const chain of state.chains) {
    for (const { a, b, t, carried } of chain.couplings)
      for (const value of [a, b, t, carried]) streams.add(value);
  }
  for (const value of state.step?.backward.reconstructed.values() ?? []) streams.add(value);
  const weightGradients = new Set(state.step?.backward.gradients.values() ?? []);
  return (value) => {
    if (streams.has(value)) return 'stream';
    if (weightGradients.has(value)) return 'weightGradient';
    switch (value.producer?.phase) {
      case 'recompute':
        return 'interior';
      case 'backward':
        return 'gradient';
      case 'update':
        return 'weightGradient';
      default:
        return 'activation';
    }
  };
}

export interface StepMemory {
  readonly memory: PlanMemory;
  readonly steps: readonly PlanStep[];
  readonly buffers: readonly PlanBuffer[];
}

/**
 * Fresh memory for every tensor (a ResNet-50 at 224x224 asks for 11 GB in the course of a step) takes up to twice the
 * time, because the system hands it out page by page. The block of a pattern does not, and loses what lies between
 * tensors of different sizes: too much only where that is much of a large step.
 */
const SMALL_STEP = 64e6;
const LARGE_LOSS = 1.25;

function choose(
  execution: Execution,
  liveBytes: number,
): { readonly allocator: Allocator; readonly peakBytes: number } {
  const scratch = execution.order.reduce((most, node) => Math.max(most, workspaceBytes(node)), 0);
  // The first step lays out the pattern, and runs on fresh memory.
  const pattern = Math.max(layOut(execution) + scratch, liveBytes);
  return pattern <= Math.max(SMALL_STEP, LARGE_LOSS * liveBytes)
    ? { allocator: 'pattern', peakBytes: pattern }
    : { allocator: 'system', peakBytes: liveBytes };
}

interface Measured {
  readonly memory: PlanMemory;
  readonly execution: Execution;
  readonly course: Profile;
  readonly category: (value: Value) => BufferCategory;
}

function measure(state: CompileState): Measured {
  const { graph } = state.model;
  const external = new Set([...graph.inputs, ...graph.constants, ...graph.outputs]);
  const optimized = state.step?.deep !== true;
  const whole = state.execution ?? simulate(graph, external, optimized);
  const execution =
    optimized || !isSegmented(whole.order.length)
      ? whole
      : holdAtBorders(whole, cutSegments(whole.order.map(labelOf)));
  const category = categories(state);
  const course = profile(execution, category);
  const { activationBytes, peakNode, byCategory } = course;
  const { allocator, peakBytes } = choose(execution, course.peakBytes);
  const memory: PlanMemory = {
    peakBytes,
    allocator,
    graphOptimization: optimized ? 'all' : 'none',
    activationBytes,
    peakNode,
    byCategory,
  };
  return { memory, execution, course, category };
}

/** Predicted memory of a built step. */
export const stepMemory = (state: CompileState): PlanMemory => measure(state).memory;

/** The same step by step, and by buffer. */
export function describeMemory(state: CompileState): StepMemory {
  const { memory, execution, course, category } = measure(state);
  const { steps, stepOf } = stretches(execution, course);
  return { memory, steps, buffers: listBuffers(execution, category, stepOf) };
}

const unitOf = (node: Node): string => node.unit ?? LOSS_UNIT;

const labelOf = (node: Node): Pick<PlanStep, 'phase' | 'unit'> => ({
  phase: node.phase,
  unit: unitOf(node),
});

function stretches(
  { order }: Execution,
  { live }: Profile,
): { steps: PlanStep[]; stepOf: (position: number) => number } {
  const steps: { phase: Node['phase']; unit: string; nodes: number; peakBytes: number }[] = [];
  const index = new Int32Array(order.length);
  order.forEach((node, position) => {
    const last = steps.at(-1);
    const bytes = live[position] ?? 0;
    if (last?.phase === node.phase && last.unit === unitOf(node)) {
      last.nodes++;
      last.peakBytes = Math.max(last.peakBytes, bytes);
    } else steps.push({ phase: node.phase, unit: unitOf(node), nodes: 1, peakBytes: bytes });
    index[position] = steps.length - 1;
  });
  return { steps, stepOf: (position) => index[Math.min(position, order.length - 1)] ?? 0 };
}

function listBuffers(
  { buffers }: Execution,
  category: (value: Value) => BufferCategory,
  stepOf: (position: number) => number,
): PlanBuffer[] {
  return buffers
    .filter(({ bytes }) => bytes >= LISTED_BYTES)
    .flatMap(({ bytes, first, last, values }): PlanBuffer[] => {
      const [value] = values;
      if (!value || !isStatic(value.shape)) return [];
      // Memory that holds a stream at some time is listed as the stream's.
      const stream = values.find((v) => category(v) === 'stream');
      return [
        {
          value: (stream ?? value).name,
          category: category(stream ?? value),
          shape: value.shape,
          bytes,
          firstStep: stepOf(first),
          lastStep: stepOf(last),
        },
      ];
    });
}

export const staticShape = (value: Value): readonly number[] => {
  invariant(isStatic(value.shape), `${value.name} has no static shape`);
  return value.shape;
};

/** Bytes of a list of weights. */
export const weightBytes = (values: Iterable<Value>): number => {
  let sum = 0;
  for (const { shape, type } of values)
    if (isStatic(shape) && type)
      sum += shape.reduce((n, d) => n * d, 1) * ELEMENT_BYTES[type.dtype];
  return sum;
};
