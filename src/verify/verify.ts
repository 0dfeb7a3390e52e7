// Is the training step right? In: the coupled network and the settings its step was built with. Out: distances,
// the thresholds they are held to, and whether all hold. Invariant: the reference never goes through the code it
// checks: the forward pass is rev.onnx itself with batch statistics, the stored gradients come from the same
// network taken as an ordinary graph that knows nothing of chains.

import { createState } from '../../passes/index.js';
import type { CompileState, Settings } from '../../passes/index.js';
import { trainingForm } from './training-form.js';
import { buildStep } from '../compiler/index.js';
import { ELEMENT_BYTES, elementCount } from '../ir/index.js';
import type { Model, Value } from '../ir/index.js';
import { unblock } from '../ops/index.js';
import type { Device } from '../../runtime/device/index.js';
import type { CoupledChain } from '../reversible/index.js';
import { compareGradients, maxDistance } from './compare.js';
import type { GradientDistance, MaxDistance } from './compare.js';
import { verifyFloat64 } from './float64.js';
import type { Float64Result } from './float64.js';
import { constantsByName, drawSeed, exposeStep, stepFeeds } from './probes.js';
import { runOnce } from './run.js';

/** What every figure is held to: set by what two exact formulations of one network differ by in float32. */
export const THRESHOLDS = {
  /** max|logits − logits'| relative to max|logits|. */
  forwardMaxRel: 1e-3,
  /** max|stream − rebuilt| / max|stream|. */
  reconstructionMaxRel: 1e-4,
  gradientRelL2: 2e-2,
  gradientAngleDegrees: 1,
  gradientMedianTensor: 1e-3,
  /** Recompute may differ from stored by this many times what two lowerings of the stored network differ by. */
  noiseFactor: 10,
  /** Noise below this (a few float32 roundings of a whole network) is taken as this. */
  noiseFloor: 1e-5,
  float64Tensor: 1e-9,
  finiteDifferences: 1e-3,
} as const;

export interface VerifyResult {
  readonly batch: number;
  readonly forward: MaxDistance;
  readonly reconstruction: MaxDistance & { readonly streams: number };
  readonly gradient: GradientDistance;
  /** The same stored network in two lowerings: what float32 alone does. */
  readonly noise: GradientDistance;
  /** Exact arithmetic; only for networks small enough to interpret. */
  readonly float64: Float64Result | null;
  readonly failures: readonly string[];
  readonly passed: boolean;
}

export interface VerifyOptions {
  /** Batch of the check; small, but not 1 (batch norm) unless the step is for 1 too. Default by image size. */
  readonly batch?: number;
  readonly seed?: number;
  readonly threads?: number;
  /** What runs the step that is checked; all it is compared with runs on the CPU. Default: the CPU. */
  readonly device?: Device;
  /** Steps of up to this many FLOP are also interpreted in float64; 0: none. Default: those that take seconds. */
  readonly float64Flops?: number;
}

/** Interpreting costs about 50 ns per multiply-add: this keeps it to seconds. */
const FLOAT64_FLOPS = 6e7;
const LARGE_IMAGE = 100_000;

/** A batch small enough to store everything, large enough for batch statistics. */
function verifyBatch(image: readonly number[]): number {
  return image.reduce((n, d) => n * d, 1) >= LARGE_IMAGE ? 4 : 8;
}

/** Weights in float64, in float32, and gradients of three steps, in Node and in ONNX Runtime: measured on 0.6 GB. */
const COPIES = 10;

/** About how much memory verifyModel takes because of the weights. */
export function verificationBytes(rev: Model): number {
  let sum = 0;
  for (const { constant } of rev.graph.constants)
    if (constant) sum += elementCount(constant.dims) * ELEMENT_BYTES[constant.dtype];
  return COPIES * sum;
}

/**
 * @param rev the coupled network in inference form, with its weights
 * @param chains its chains; empty for a network that was left as it is
 */
export async function verifyModel(
  rev: Model,
  chains: readonly CoupledChain[],
  settings: Settings,
  options: VerifyOptions = {},
): Promise<VerifyResult> {
  const { seed = 0, threads, device = 'cpu', float64Flops = FLOAT64_FLOPS } = options;
  const image = imageShape(rev);
  // A model that takes no other batch than 1 is verified at 1 where that is asked for.
  const least = settings.batch === 1 && options.batch === 1 ? 1 : 2;
  const batch = Math.max(least, options.batch ?? Math.min(settings.batch, verifyBatch(image)));
  const at = (more: Partial<Settings>): Settings => ({ ...settings, batch, ...more });
  const weights = constantsByName(rev);
  const build = (chainList: readonly CoupledChain[], more: Partial<Settings>): CompileState =>
    buildStep(rev, chainList, at(more)).state;
  const run = async (
    state: CompileState,
    on: Device = 'cpu',
  ): Promise<{ probe: ReturnType<typeof exposeStep>; results: Map<Value, Float32Array> }> => {
    const probe = exposeStep(state);
    const feeds = stepFeeds(state, weights, seed);
    const wanted = [
      probe.logits,
      ...probe.gradients.values(),
      ...probe.streams.flatMap((s) => [s.forward, s.rebuilt]),
    ];
    const results = await runOnce(state.model, feeds, wanted, { threads, device: on });
    return { probe, results: plainResults(state, results) };
  };
  const gradients = ({
    probe,
    results,
  }: Awaited<ReturnType<typeof run>>): Map<string, Float32Array> =>
    new Map([...probe.gradients].map(([name, v]) => [name, results.get(v) ?? new Float32Array()]));

  const step = await run(build(chains, {}), device);
  const logits = await forwardByItself(rev, at({}), seed, threads);
  const forward = maxDistance(step.results.get(step.probe.logits) ?? [], logits);
  const reconstruction = rebuildErrors(step.probe.streams, step.results);
  const own = gradients(step);
  const stored = gradients(await run(build([], { policy: 'store' })));
  const other = settings.target === 'cpu' ? 'portable' : 'cpu';
  const lowered = gradients(await run(build([], { policy: 'store', target: other })));
  const gradient = compareGradients(own, stored);
  const noise = compareGradients(lowered, stored);
  const float64 = exactCheck(rev, chains, at({ batch: least }), weights, seed, float64Flops);
  const failures = judge({ forward, reconstruction, gradient, noise, float64 });
  return {
    batch,
    forward,
    reconstruction,
    gradient,
    noise,
    float64,
    failures,
    passed: failures.length === 0,
  };
}

/** What the step left in blocks, in the order of its shape. */
function plainResults(
  { blocked, settings: { block } }: CompileState,
  results: ReadonlyMap<Value, Float32Array>,
): Map<Value, Float32Array> {
  const inPlain = ([value, data]: readonly [Value, Float32Array]): [Value, Float32Array] => [
    value,
    block !== undefined && blocked.has(value)
      ? unblock(data, (value.shape ?? []).map(Number), block)
      : data,
  ];
  return new Map([...results].map(inPlain));
}

function imageShape(rev: Model): readonly number[] {
  const input = rev.graph.inputs.find((v) => !v.constant);
  return (input?.shape ?? []).slice(1).map((d) => (typeof d === 'number' ? d : 1));
}

/** rev.onnx as it is, batch norms set to batch statistics and dropout to fed masks, run by ONNX Runtime. */
async function forwardByItself(
  rev: Model,
  settings: Settings,
  seed: number,
  threads: number | undefined,
): Promise<Float32Array> {
  const { model, images, sides, logits, state, masks } = trainingForm(
    rev,
    createState(rev, settings).settings,
    drawSeed(seed),
  );
  const feeds = stepFeeds(state, new Map(), seed);
  const fed = new Map([
    ...[...feeds].filter(([value]) => value === images || sides.includes(value)),
    ...masks,
  ]);
  return (await runOnce(model, fed, [logits], { threads })).get(logits) ?? new Float32Array();
}

function rebuildErrors(
  streams: readonly { readonly forward: Value; readonly rebuilt: Value }[],
  results: ReadonlyMap<Value, Float32Array>,
): MaxDistance & { streams: number } {
  let [maxAbs, maxRel] = [0, 0];
  for (const { forward, rebuilt } of streams) {
    const gap = maxDistance(results.get(rebuilt) ?? [], results.get(forward) ?? []);
    maxAbs = Math.max(maxAbs, gap.maxAbs);
    maxRel = Math.max(maxRel, gap.maxRel);
  }
  return { maxAbs, maxRel, streams: streams.length };
}

function exactCheck(
  rev: Model,
  chains: readonly CoupledChain[],
  settings: Settings,
  weights: ReturnType<typeof constantsByName>,
  seed: number,
  limit: number,
): Float64Result | null {
  if (limit === 0) return null;
  const reversed = buildStep(rev, chains, settings);
  if (reversed.stepFlops > limit) return null;
  const stored = buildStep(rev, [], { ...settings, policy: 'store' });
  return verifyFloat64(reversed.state, stored.state, weights, seed);
}

/**
 * By how much float32 noise may raise a limit. The most seen is 3.5 times (torchvision's resnet152 before training); without
 * an end, a wrong lowering, which shows as noise, would excuse everything.
 */
const MOST_NOISE = 5;

/** What the gradients of recomputing are held to. */
export interface GradientLimits {
  readonly relL2: number;
  readonly angleDegrees: number;
  readonly medianTensor: number;
}

/**
 * One ReLU that flips because its operand is within a rounding of 0 changes the gradients of all layers before it. Where two
 * ways of computing the stored network already differ by more than a threshold (deep networks before training), that is what recomputing is held to.
 */
export function gradientLimits(noise: GradientDistance): GradientLimits {
  const limit = (threshold: number, seen: number): number =>
    Math.max(threshold, Math.min(seen, MOST_NOISE * threshold));
  return {
    relL2: limit(THRESHOLDS.gradientRelL2, noise.relL2),
    angleDegrees: limit(THRESHOLDS.gradientAngleDegrees, noise.angleDegrees),
    // Of a single tensor, without a bound: half of all tensors may lie before the ReLU that flipped.
    medianTensor: Math.max(THRESHOLDS.gradientMedianTensor, noise.medianTensor),
  };
}

function judge(
  r: Pick<VerifyResult, 'forward' | 'reconstruction' | 'gradient' | 'noise' | 'float64'>,
): string[] {
  const failures: string[] = [];
  const hold = (what: string, value: number, limit: number): void => {
    // Not "value > limit": NaN must fail.
    if (!(value <= limit))
      failures.push(`${what} ${value.toExponential(2)} > ${limit.toExponential(2)}`);
  };
  const t = THRESHOLDS;
  hold('forward max relative', r.forward.maxRel, t.forwardMaxRel);
  hold('reconstruction max relative', r.reconstruction.maxRel, t.reconstructionMaxRel);
  const limits = gradientLimits(r.noise);
  hold('gradient relative L2', r.gradient.relL2, limits.relL2);
  hold('gradient angle (degrees)', r.gradient.angleDegrees, limits.angleDegrees);
  hold('gradient median tensor', r.gradient.medianTensor, limits.medianTensor);
  hold(
    'gradient against noise floor',
    r.gradient.relL2,
    t.noiseFactor * Math.max(r.noise.relL2, t.noiseFloor),
  );
  if (r.float64) {
    hold('float64 worst tensor', r.float64.recompute.maxTensor, t.float64Tensor);
    hold('float64 finite differences', r.float64.finiteDifferences, t.finiteDifferences);
  }
  return failures;
}
