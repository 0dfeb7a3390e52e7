// Pools: there where they help, gone before anything else is made, and the block smaller for them.

import { expect, test } from 'vitest';
import { preResNet } from '../../fixtures/models.js';
import type { CompileState } from '../../passes/index.js';
import { DEFAULT_SETTINGS, stepPipeline } from '../../passes/index.js';
import { analyseModel, buildStep } from '../../src/compiler/index.js';
import type { Node } from '../../src/ir/index.js';
import { findPools, isTight, layOut, profile, simulate } from '../../src/memory/index.js';
import type { Buffer, Execution } from '../../src/memory/index.js';

const isPool = (node: Node): boolean => node.name.startsWith('pools/');

function step(target: 'cpu' | 'portable'): CompileState {
  const settings = { ...DEFAULT_SETTINGS, batch: 64, target };
  const model = preResNet({ depth: 20, seed: 1 });
  const { chains } = analyseModel(model, settings);
  return buildStep(model, chains, settings).state;
}

const run = ({ model: { graph } }: CompileState): Execution =>
  simulate(graph, new Set([...graph.inputs, ...graph.constants, ...graph.outputs]));

const without = ({ order, buffers }: Execution): Execution => ({
  order,
  buffers: buffers.filter(({ values: [first] }) => !(first?.producer && isPool(first.producer))),
});

test('the block of a step is nearly what is alive, and much larger without pools', () => {
  const execution = run(step('cpu'));
  const { activationBytes } = profile(execution, () => 'activation');
  expect(isTight(execution, layOut(execution))).toBe(true);
  expect(layOut(without(execution))).toBeGreaterThan(1.08 * activationBytes);
});

test('pools come before all that depends on the batch, walls stay to the last update', () => {
  const { order, buffers } = run(step('cpu'));
  const made = (value: string): Buffer | undefined =>
    buffers.find(({ values }) => values.some(({ name }) => name === value));
  const pools = order.filter((node) => isPool(node) && node.op === 'ConstantOfShape');
  const walls = order.filter((node) => isPool(node) && node.op === 'Gather');
  expect([pools.length, walls.length]).toEqual([3, 3]);
  const firstConv = order.findIndex(({ op }) => op === 'Conv');
  for (const pool of pools) expect(made(pool.output().name)?.last).toBeLessThan(firstConv);
  const lastStep = order.findLastIndex(
    ({ phase, op, name }) => phase === 'update' && op === 'Mul' && name.endsWith('/step'),
  );
  for (const wall of walls) {
    expect(made(wall.output().name)?.first).toBeLessThan(firstConv);
    expect(made(wall.output().name)?.last).toBeGreaterThan(0.99 * lastStep);
  }
});

test('the execution that is handed on is that of the step as it is', () => {
  const state = step('cpu');
  const { order, buffers } = run(state);
  expect(state.execution?.order).toEqual(order);
  const figures = (list: readonly Buffer[]): unknown[] =>
    list.map(({ bytes, first, last, values }) => [bytes, first, last, values.map((v) => v.name)]);
  expect(figures(state.execution?.buffers ?? [])).toEqual(figures(buffers));
});

test('other targets have none', () => {
  expect(stepPipeline.some(({ name }) => name === 'reserve-pools')).toBe(true);
  expect([...step('portable').model.graph.nodes].some(isPool)).toBe(false);
});

test('sizes are those of the smallest block that was tried', () => {
  const execution = run(step('cpu'));
  const pools = execution.order
    .filter((node) => isPool(node) && node.op === 'ConstantOfShape')
    .map((node) => node.output());
  const sizes = findPools(execution, pools);
  expect(layOut(execution, new Map(pools.map((pool, at) => [pool, sizes[at] ?? 0])))).toBe(
    layOut(execution),
  );
});
