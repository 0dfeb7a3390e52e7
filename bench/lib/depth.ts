// Memory of one training step of a CIFAR ResNet, as a function of its depth. In: depth and the way of training.
// Out: measured and predicted bytes. Also used by tests: what keeps memory flat can be taken away here, the token
// and the order of results, and then memory has to grow with depth.

import type { Settings } from '../../passes/index.js';
import type { Measurement } from '../../runtime/index.js';
import { preResNet, resNetV1 } from '../../fixtures/models.js';
import { compile } from '../../src/compiler/index.js';
import type { Compiled } from '../../src/compiler/index.js';
import type { Model, Node } from '../../src/ir/index.js';
import type { Instrument } from '../../src/rewrite/index.js';
import { measureCompiled } from './folder.js';

/**
 * How the results stand in the file. schedule: as order-step puts them. natural: as the passes before it happened to
 * append them. reversed: the other way round, what an executor with another order of its own would make of them.
 */
export type ResultOrder = 'schedule' | 'natural' | 'reversed';

/** What makes the executor follow the schedule. */
export interface Safeguards {
  /** Each unit's recompute waits for the unit after it. */
  readonly token: boolean;
  readonly order: ResultOrder;
}

/** preactivation: branches begin with batch norm. v1: with ReLU (and projections where the shape changes). */
export type NetworkKind = 'preactivation' | 'v1';

export interface DepthCase extends Partial<Safeguards> {
  /** Default preactivation. */
  readonly network?: NetworkKind;
  /** 6n + 2. */
  readonly layers: number;
  readonly target: Settings['target'];
  readonly recipe: Settings['recipe'];
  readonly policy: Settings['policy'];
  readonly batch: number;
}

const ORDERING_PASS = 'order-step';

/** Remembers how each model's nodes stood before the pass that orders results. */
class NaturalOrder implements Instrument {
  private readonly orders = new WeakMap<Model, readonly Node[]>();

  afterPass(name: string, model: Model): void {
    if (name !== ORDERING_PASS) this.orders.set(model, [...model.graph.nodes]);
  }

  restore(model: Model): void {
    const order = this.orders.get(model);
    if (!order) throw new Error(`no pass ran before ${ORDERING_PASS}`);
    model.graph.reorder(order);
  }
}

/** The nodes nobody reads, at the end of the file, the other way round. */
export function reverseResults({ graph }: Model): void {
  const isRead = (node: Node): boolean => node.outputs.some((v) => v?.isUsed);
  const nodes = [...graph.nodes];
  graph.reorder([...nodes.filter(isRead), ...nodes.filter((n) => !isRead(n)).reverse()]);
}

/** A ResNet for 32×32 images, compiled. The plan's prediction holds for order `schedule` only. */
export function compileDepth(subject: DepthCase): Compiled {
  const { layers, target, recipe, policy, batch, token = true, order = 'schedule' } = subject;
  const isV1 = subject.network === 'v1';
  const natural = new NaturalOrder();
  const model = isV1 ? resNetV1({ depth: layers, shortcut: 'B' }) : preResNet({ depth: layers });
  const name = model.graph.name;
  const compiled = compile(model, {
    name,
    source: name,
    recipe,
    policy,
    target,
    batch,
    token,
    instruments: order === 'natural' ? [natural] : [],
  });
  if (order === 'natural') natural.restore(compiled.train);
  if (order === 'reversed') reverseResults(compiled.train);
  return compiled;
}

export interface DepthResult {
  readonly peakBytes: number;
  readonly activationBytes: number;
  readonly secondsPerStep: number;
  /** Live bytes by simulation; null where the order is not the schedule's. */
  readonly predictedBytes: number | null;
  /** Part of the peak: what onnxruntime-node copies at the end of a run, proportional to the weights. */
  readonly outputCopyBytes: number;
  readonly losses: readonly number[];
  readonly platform: Measurement['platform'];
}

export interface DepthOptions {
  readonly steps: number;
  readonly threads?: number;
}

/** Compiles and measures one case, in a fresh process. */
export async function measureDepth(
  subject: DepthCase,
  options: DepthOptions,
): Promise<DepthResult> {
  const compiled = compileDepth(subject);
  const { measured, outputCopyBytes, losses, platform } = await measureCompiled(compiled, options);
  const { peakBytes, activationBytes, secondsPerStep } = measured;
  const predictedBytes =
    (subject.order ?? 'schedule') === 'schedule' ? compiled.plan.memory.plan.peakBytes : null;
  return {
    peakBytes,
    activationBytes,
    secondsPerStep,
    predictedBytes,
    outputCopyBytes,
    losses,
    platform,
  };
}

const ALLOWED_RATIO = 0.05;
const ALLOWED_BYTES = 8e6;

export interface Growth {
  readonly fromBytes: number;
  readonly toBytes: number;
  /** toBytes / fromBytes − 1 */
  readonly ratio: number;
  /** At most 5 % or 8 MB, whichever is more. */
  readonly isFlat: boolean;
}

/** How much a column grew from its first to its last row. */
export function growth(bytes: readonly number[]): Growth {
  const fromBytes = bytes[0] ?? 0;
  const toBytes = bytes.at(-1) ?? 0;
  const allowed = Math.max(ALLOWED_RATIO * fromBytes, ALLOWED_BYTES);
  return {
    fromBytes,
    toBytes,
    ratio: fromBytes > 0 ? toBytes / fromBytes - 1 : 0,
    isFlat: toBytes - fromBytes <= allowed,
  };
}
