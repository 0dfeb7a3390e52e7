// What the simulation says of a whole step is what ONNX Runtime does: the same order, and after every node as many
// bytes requested from its allocator and not yet given back. Its profiler tells both.

import { mkdtempSync, readFileSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { InferenceSession, Tensor as OrtTensor } from 'onnxruntime-node';
import { afterAll, describe, expect, test } from 'vitest';
import { preResNet, resNetImageNet, resNetV1 } from '../../fixtures/models.js';
import type { Settings } from '../../passes/index.js';
import { DEFAULT_SETTINGS } from '../../passes/index.js';
import { probeBlock } from '../../runtime/index.js';
import { analyseModel, buildStep } from '../../src/compiler/index.js';
import { describeMemory } from '../../src/compiler/memory.js';
import { isStatic } from '../../src/ir/index.js';
import type { Model, Tensor, Value } from '../../src/ir/index.js';
import type { PlanMemory } from '../../src/plan/index.js';
import { profile, simulate } from '../../src/memory/index.js';
import { encodeModel } from '../../src/onnx/index.js';
import { constantsByName, stepFeeds } from '../../src/verify/index.js';

const block = await probeBlock();

const folder = mkdtempSync(join(tmpdir(), 'revnetify-memory-'));
afterAll(() => {
  rmSync(folder, { recursive: true, force: true });
});

interface KernelEvent {
  readonly name: string;
  readonly cat: string;
  readonly args: Readonly<Record<string, string>>;
}

interface Kernel {
  readonly name: string;
  readonly requested: number;
}

const SUFFIX = '_kernel_time';

/** Runs a step once. @returns its kernels as they ran, fused ones under the name of what they replace */
async function execute(
  model: Model,
  feeds: Iterable<[Value, Tensor]>,
  optimization: PlanMemory['graphOptimization'],
): Promise<Kernel[]> {
  const session = await InferenceSession.create(encodeModel(model).bytes, {
    graphOptimizationLevel: optimization === 'all' ? 'extended' : 'disabled',
    enableMemPattern: false,
    enableProfiling: true,
    profileFilePrefix: join(folder, 'profile'),
    intraOpNumThreads: 1,
  });
  const tensors: Record<string, OrtTensor> = {};
  for (const [value, { dims, data, dtype }] of feeds)
    tensors[value.name] =
      dtype === 'int64'
        ? new OrtTensor('int64', BigInt64Array.from(data, BigInt), dims)
        : new OrtTensor('float32', Float32Array.from(data), dims);
  const fetches: Record<string, OrtTensor> = {};
  for (const { name, shape } of model.graph.outputs) {
    if (!isStatic(shape)) throw new Error(`${name} has no static shape`);
    const size = shape.reduce((n, d) => n * d, 1);
    fetches[name] = new OrtTensor('float32', new Float32Array(size), shape);
  }
  await session.run(tensors, fetches);
  session.endProfiling();
  await session.release();
  const file = readdirSync(folder).find((name) => name.startsWith('profile')) ?? '';
  const path = join(folder, file);
  const events = JSON.parse(readFileSync(path, 'utf8')) as KernelEvent[];
  rmSync(path);
  return events
    .filter(({ cat, name }) => cat === 'Node' && name.endsWith(SUFFIX))
    .map(({ name, args }) => ({
      name: name.slice(0, -SUFFIX.length).replace('/MatmulTransposeFusion/', ''),
      requested: Number(args['mem_bytes_requested_in_use']),
    }));
}

/** The last: by how much of the peak a single node may be off. */
const NETWORKS: readonly [string, () => Model, Partial<Settings>, number][] = [
  [
    'pre-activation 20, reversed',
    () => preResNet({ depth: 20, seed: 1 }),
    { batch: 16, recipe: 'rewire', policy: 'reverse' },
    // Twice the executor keeps the memory of one transposed gradient for the next, which the simulation gives back.
    0.06,
  ],
  [
    'pre-activation 20, stored',
    () => preResNet({ depth: 20, seed: 1 }),
    { batch: 16, recipe: 'none', policy: 'store' },
    0.05,
  ],
  [
    'bottlenecks with two transitions, reversed',
    () => resNetImageNet({ layers: [3, 3], block: 'bottleneck', width: 16, image: 64, seed: 3 }),
    { batch: 8, recipe: 'rewire', policy: 'reverse' },
    0.05,
  ],
  [
    'two streams through the transitions',
    () => resNetImageNet({ layers: [3, 3], block: 'bottleneck', width: 16, image: 64, seed: 3 }),
    { batch: 8, recipe: 'paper', policy: 'reverse' },
    0.05,
  ],
  [
    'basic blocks behind a max pool, two streams through the transitions',
    () => resNetImageNet({ layers: [2, 2, 2], block: 'basic', width: 16, image: 64, seed: 3 }),
    { batch: 16, recipe: 'paper', policy: 'reverse' },
    0.05,
  ],
  [
    'pre-activation 20 in blocks, two streams',
    () => preResNet({ depth: 20, seed: 1 }),
    { batch: 16, recipe: 'paper', policy: 'reverse', block },
    0.05,
  ],
  [
    'basic blocks behind a max pool, in blocks',
    () => resNetImageNet({ layers: [2, 2, 2], block: 'basic', width: 16, image: 64, seed: 3 }),
    { batch: 16, recipe: 'paper', policy: 'reverse', block },
    0.05,
  ],
  [
    'bottlenecks with two transitions, in blocks',
    () => resNetImageNet({ layers: [3, 3], block: 'bottleneck', width: 16, image: 64, seed: 3 }),
    { batch: 16, recipe: 'paper', policy: 'reverse', block },
    // The scratch of a ConvTranspose, which the profiler does not see.
    0.07,
  ],
  [
    'so deep that the graph is left as it is and ranks are hidden',
    () => preResNet({ depth: 218, width: 8, seed: 1 }),
    { batch: 16, recipe: 'paper', policy: 'reverse' },
    0.05,
  ],
];

describe.each(NETWORKS)('%s', (_, make, more, limit) => {
  test('order, bytes after every node, peak', async () => {
    const settings = { ...DEFAULT_SETTINGS, ...more };
    const model = make();
    const { chains } = analyseModel(model, settings);
    const { state } = buildStep(model, chains, settings);
    const { graph } = state.model;
    const { memory } = describeMemory(state);
    const external = new Set([...graph.inputs, ...graph.constants, ...graph.outputs]);
    const run = simulate(graph, external, memory.graphOptimization === 'all');
    const { live, activationBytes } = profile(run, () => 'activation');
    const feeds = stepFeeds(state, constantsByName(model), 3);
    const kernels = await execute(state.model, feeds, memory.graphOptimization);

    // Nodes that ONNX Runtime merged or folded away are in the simulation only.
    const position = new Map(run.order.map((node, index) => [node.name, index]));
    const seen = kernels.filter(({ name }) => position.has(name));
    expect(seen.length).toBeGreaterThan(0.85 * run.order.length);
    const positions = seen.map(({ name }) => position.get(name) ?? 0);
    expect(positions).toEqual([...positions].sort((a, b) => a - b));

    const peak = Math.max(...kernels.map((k) => k.requested));
    expect(Math.abs(activationBytes / peak - 1)).toBeLessThan(0.03);
    // What passes from one segment of a deep step to the next is held a little longer.
    if (memory.graphOptimization === 'all') expect(memory.activationBytes).toBe(activationBytes);
    else expect(memory.activationBytes).toBeGreaterThanOrEqual(activationBytes);
    const worst = seen.reduce((most, { name, requested }) => {
      const simulated = live[position.get(name) ?? 0] ?? 0;
      return Math.max(most, Math.abs(simulated - requested));
    }, 0);
    expect(worst / peak).toBeLessThan(limit);

    expect(memory.peakBytes).toBeGreaterThanOrEqual(memory.activationBytes);
  }, 120_000);
});

describe('the token', () => {
  /** Most bytes requested while a step of a network that activates first runs. */
  const peakOf = async (depth: number, token: boolean): Promise<number> => {
    const settings: Settings = {
      ...DEFAULT_SETTINGS,
      batch: 8,
      recipe: 'none',
      policy: 'recompute',
      token,
    };
    const model = resNetV1({ depth, shortcut: 'A', seed: 1 });
    const { state } = buildStep(model, [], settings);
    const kernels = await execute(state.model, stepFeeds(state, constantsByName(model), 3), 'all');
    return Math.max(...kernels.map((k) => k.requested));
  };

  test('without it recomputed nodes are merged with their originals, and memory grows with depth', async () => {
    const [shallow, deep] = [await peakOf(14, true), await peakOf(38, true)];
    const [bareShallow, bareDeep] = [await peakOf(14, false), await peakOf(38, false)];
    // Checkpoints are kept per block either way: four blocks per stage more, each with its input.
    expect(bareDeep - bareShallow).toBeGreaterThan(2 * (deep - shallow));
    expect(bareDeep).toBeGreaterThan(1.5 * deep);
  }, 120_000);
});
