// A few steps of a training, watched: a program of its own, because the device is chosen when a process starts. In: a job
// as JSON, the only argument. Out: a report as JSON on stdout. Invariant: where tensors are is read off the very calls
// of ONNX Runtime, not asked of the runner.

import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { InferenceSession, Tensor } from 'onnxruntime-node';
import { placementsOf } from '../../runtime/device/placement.js';
import { FALLBACK_ALLOWED } from '../../runtime/device/provider.js';
import type { Device } from '../../runtime/index.js';
import { TrainingStep, loadRuntime, readPlan } from '../../runtime/index.js';
import { initialState } from '../../runtime/parameters.js';
import { settingsOf, tensorOf } from '../../runtime/session.js';
import type { Plan, PlanInput } from '../../src/plan/index.js';

export interface Job {
  readonly dir: string;
  readonly device: Device;
  readonly steps: number;
  readonly lr: number;
  /** Run once more, to list which provider ran what. */
  readonly profile?: boolean;
  /** Count the device's memory, which SwiftShader has in this process. */
  readonly memory?: boolean;
}

export interface Report {
  readonly losses: readonly number[];
  readonly correct: readonly number[];
  /** Per call of ONNX Runtime: where its inputs and outputs are that go from step to step, and the others. */
  readonly calls: readonly {
    readonly stateIn: readonly string[];
    readonly stateOut: readonly string[];
    readonly othersIn: readonly string[];
    readonly othersOut: readonly string[];
  }[];
  /** Calls of ONNX Runtime that download() made after the last step. */
  readonly downloads: number;
  /** Sum of absolute values of all weights after the last step. */
  readonly weightSum: number;
  readonly providers: Readonly<Record<string, number>>;
  /** Device memory after the last step, above that before the first. */
  readonly blockBytes: number;
}

type Calls = Report['calls'][number][];

const distinct = (tensors: readonly (Tensor | undefined)[]): string[] => [
  ...new Set(tensors.map((tensor) => tensor?.location ?? 'absent')),
];

/** Notes every run of every session from now on. */
async function watch(plan: Plan): Promise<Calls> {
  const { InferenceSession } = await loadRuntime();
  const calls: Calls = [];
  const state = plan.inputs.filter(({ next }) => next !== undefined);
  const [ins, outs] = [
    new Set(state.map(({ name }) => name)),
    new Set(state.map(({ next = '' }) => next)),
  ];
  // The class itself is not exported as one, only what makes its instances.
  const prototype = (InferenceSession as unknown as { prototype: InferenceSession }).prototype;
  // eslint-disable-next-line @typescript-eslint/unbound-method -- called with the session it belongs to
  const run = prototype.run as (...args: unknown[]) => Promise<InferenceSession.ReturnType>;
  Object.assign(prototype, {
    run: async function (this: InferenceSession, ...args: unknown[]) {
      const feeds = args[0] as Readonly<Record<string, Tensor>>;
      const before = Object.entries(feeds).map(([name, t]) => [name, t] as const);
      const inState = before.filter(([name]) => ins.has(name)).map(([, t]) => t);
      const inOthers = before.filter(([name]) => !ins.has(name)).map(([, t]) => t);
      const call = { stateIn: distinct(inState), othersIn: distinct(inOthers) };
      const results = await run.apply(this, args);
      const after = Object.entries(results);
      calls.push({
        ...call,
        stateOut: distinct(after.filter(([name]) => outs.has(name)).map(([, t]) => t)),
        othersOut: distinct(after.filter(([name]) => !outs.has(name)).map(([, t]) => t)),
      });
      return results;
    },
  });
  return calls;
}

/** The same batch for every device. */
function batchOf({ inputs, assumptions }: Plan): {
  images: Float32Array | BigInt64Array;
  labels: BigInt64Array;
} {
  const count = (role: string): number =>
    (inputs.find((i) => i.role === role)?.shape ?? []).reduce((n, d) => n * d, 1);
  const images = inputs.find(({ role }) => role === 'images');
  const numbers = (n: number, limit: number): BigInt64Array =>
    BigInt64Array.from({ length: n }, (_, i) => BigInt((i * i + 3 * i) % limit));
  return {
    images:
      images?.dtype === 'int64'
        ? numbers(count('images'), images.limit ?? 1)
        : Float32Array.from({ length: count('images') }, (_, i) => Math.sin(0.37 * i * i)),
    labels: numbers(count('labels'), assumptions.classes),
  };
}

async function providersOf({ dir }: Job, plan: Plan): Promise<Record<string, number>> {
  const runtime = await loadRuntime();
  const { images, labels } = batchOf(plan);
  const state = initialState(dir, plan);
  const arrayOf = ({ name, role, dtype, shape }: PlanInput): Parameters<typeof tensorOf>[1] => {
    const size = shape.reduce((n, d) => n * d, 1);
    if (role === 'images') return images;
    if (role === 'labels') return labels;
    return state.get(name) ?? (dtype === 'int32' ? new Int32Array(size) : new Float32Array(size));
  };
  const feeds = Object.fromEntries(
    plan.inputs.map((input) => [input.name, tensorOf(runtime, arrayOf(input), input.shape)]),
  );
  const settings = settingsOf({ device: 'webgpu', extra: FALLBACK_ALLOWED });
  const counts: Record<string, number> = {};
  for (const { provider } of await placementsOf(
    runtime,
    join(dir, plan.model.train),
    settings,
    feeds,
  ))
    counts[provider] = (counts[provider] ?? 0) + 1;
  return counts;
}

const KIB = 1024;
/** The driver hands device memory out of blocks of this size and larger; JavaScript and compiled shaders lie in smaller ones. */
const BLOCK_BYTES = 2 ** 22;

/** Resident bytes of the large mappings of private memory without a name: the device memory of SwiftShader. */
function blockBytes(): number {
  let sum = 0;
  let counts = false;
  for (const line of readFileSync('/proc/self/smaps', 'utf8').split('\n')) {
    const [header, from = '', to = '', rights, name] =
      /^([0-9a-f]+)-([0-9a-f]+) (\S+) \S+ \S+ \d+\s*(.*)$/.exec(line) ?? [];
    if (header !== undefined)
      counts =
        rights === 'rw-p' && name === '' && parseInt(to, 16) - parseInt(from, 16) >= BLOCK_BYTES;
    else if (counts) sum += Number(/^Rss:\s+(\d+) kB$/.exec(line)?.[1] ?? 0) * KIB;
  }
  return sum;
}

async function run(job: Job): Promise<Report> {
  const { dir, device, steps, lr } = job;
  const { plan } = readPlan(dir);
  const calls = await watch(plan);
  const step = await TrainingStep.open(dir, plan, { device });
  const [losses, correct]: [number[], number[]] = [[], []];
  const batch = batchOf(plan);
  const before = job.memory ? blockBytes() : 0;
  for (let i = 0; i < steps; i++) {
    const result = await step.run({ ...batch, learningRate: lr });
    losses.push(result.loss);
    correct.push(result.correct);
  }
  const grown = job.memory ? blockBytes() - before : 0;
  const own = calls.slice();
  await step.download();
  const weights = [...step.weights().values()];
  const weightSum = weights.reduce((s, w) => w.reduce((t, x) => t + Math.abs(x), s), 0);
  const downloads = calls.length - own.length;
  await step.dispose();
  const providers = job.profile ? await providersOf(job, plan) : {};
  return { losses, correct, calls: own, downloads, weightSum, providers, blockBytes: grown };
}

const report = await run(JSON.parse(process.argv[2] ?? '') as Job);
process.stdout.write(JSON.stringify(report));
