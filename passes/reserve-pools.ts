// Pass reserve-pools: the step begins by making gaps for small tensors in the block of its memory pattern. In: an ordered
// step. Out: the same with pools (memory/pools.ts). Invariant: what the step computes stays what it was: walls hold 0,
// and a pool's contents are never read but for that 0.

import { invariant } from '../src/diagnostics/index.js';
import { Tensor, int } from '../src/ir/index.js';
import type { Graph, Node, Value } from '../src/ir/index.js';
import { findPools, isTight, layOut, resized, simulate } from '../src/memory/index.js';
import { Builder } from '../src/ops/index.js';
import { definePass } from './state.js';
import type { StepState } from './state.js';

const FLOAT_BYTES = 4;
/** Of a block below this size, what pools save is next to nothing beside the process itself. */
const SMALL_BLOCK = 8e6;
const ONNX_INT64 = 7;

export const reservePools = definePass({
  name: 'reserve-pools',
  summary: 'gaps for small tensors in the memory that a step is laid out in',
  run: (state) => {
    const { settings, step, loss } = state;
    const { graph } = state.model;
    invariant(step && loss, 'reserve-pools needs order-step before it');
    if (settings.target !== 'cpu') return;
    const external = new Set([...graph.inputs, ...graph.constants, ...graph.outputs]);
    const without = simulate(graph, external, !step.deep);
    const block = layOut(without);
    const isEnough = block < SMALL_BLOCK || isTight(without, block);
    const end = isEnough ? undefined : lastScalar(without.order, step);
    if (!end) {
      state.execution = without;
      return;
    }
    const pools = reserve(graph, [loss.images, ...loss.sides], end);
    const tiny = simulate(graph, external, !step.deep);
    const found = findPools(tiny, pools);
    const sizes = new Map(pools.map((pool, at) => [pool, resize(graph, pool, found[at] ?? 0)]));
    graph.removeDead();
    state.execution = resized(tiny, sizes);
  },
});

/** Where a node takes one of the step's scalar inputs. */
interface ScalarUse {
  readonly node: Node;
  readonly index: number;
  readonly scalar: Value;
}

/** The last use of a scalar input in the course of the step. */
function lastScalar(order: readonly Node[], { scalars }: StepState): ScalarUse | undefined {
  const inputs = new Set(scalars.values());
  for (const node of [...order].reverse()) {
    if (node.phase !== 'update') continue;
    const index = node.inputs.findIndex((value) => value !== undefined && inputs.has(value));
    const scalar = node.inputs[index];
    if (scalar) return { node, index, scalar };
  }
  return undefined;
}

const POOLS = 3;

/**
 * Adds nodes at the beginning of the graph.
 * @param starts inputs of the network: what reads them waits for the pools
 * @param end reads the walls, so that they stay until then
 * @returns the pools, of no size yet
 */
function reserve(graph: Graph, starts: readonly Value[], end: ScalarUse): Value[] {
  const before = [...graph.nodes];
  const b = new Builder(graph, { phase: 'forward', path: 'pools' });
  const beyond = b.op('Greater', [end.scalar, b.constant(Tensor.scalar(Infinity))], {
    name: 'beyond',
  });
  // Always 0; the sizes are not known before the step runs, or ONNX Runtime would make the pools when it loads the file.
  let zero = b.op('Cast', [beyond], { attributes: { to: int(ONNX_INT64) }, name: 'zero' });
  const pools: Value[] = [];
  const walls: Value[] = [];
  for (let at = 0; at < POOLS; at++) {
    const size = b.op('Add', [zero, b.ints(1)], { name: 'size' });
    const pool = b.op('ConstantOfShape', [size], { name: 'pool' });
    pool.type = { dtype: 'float32', shape: [1] };
    // No tensor of the step may take over its memory by its shape.
    pool.stated = { dtype: 'float32', shape: [`pool_${at}`] };
    const wall = b.op('Gather', [pool, b.constant(Tensor.of('int64', [], [0]))], { name: 'wall' });
    zero = b.op('Cast', [wall], { attributes: { to: int(ONNX_INT64) }, name: 'zero' });
    pools.push(pool);
    walls.push(wall);
  }
  for (const start of starts) {
    const rank = start.shape?.length ?? 0;
    if (rank === 0) continue;
    const users = [...start.users];
    const zeros = b.ints(...Array.from({ length: rank }, () => 0));
    const target = b.op('Add', [zero, zeros], { name: 'keep' });
    const view = b.op('Reshape', [start, target], { name: 'start' });
    view.type = start.type;
    view.stated = start.type;
    for (const user of users)
      user.inputs.forEach((value, index) => {
        if (value === start) user.setInput(index, view);
      });
  }
  const late = new Builder(graph, { phase: 'update', path: 'pools', ...unitOf(end.node) });
  end.node.setInput(end.index, late.op('Sum', [end.scalar, ...walls], { name: 'walls' }));
  const old = new Set(before);
  graph.reorder([...[...graph.nodes].filter((node) => !old.has(node)), ...before]);
  return pools;
}

/** @returns the bytes it then has: whole elements */
function resize(graph: Graph, pool: Value, bytes: number): number {
  const { producer } = pool;
  invariant(producer?.input(0).producer, 'a pool is of a size that is computed');
  const count = Math.ceil(bytes / FLOAT_BYTES);
  const b = new Builder(graph, { phase: 'forward', path: 'pools' });
  producer.input(0).producer?.setInput(1, b.ints(count));
  pool.type = { dtype: 'float32', shape: [count] };
  return count * FLOAT_BYTES;
}

const unitOf = ({ unit }: Node): { readonly unit?: string } => (unit === undefined ? {} : { unit });
