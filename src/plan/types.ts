// The plan: contract between the compiler, the runtimes and the reports. Written as <name>.plan.json beside
// the step graph it describes. Invariant: made from the same inputs, byte for byte the same.

/** Raised when a field changes its meaning or goes away. */
export const PLAN_SCHEMA_VERSION = 1;

/** What an input of the step graph is for. */
export type InputRole =
  | 'images'
  | 'labels'
  | 'learning_rate'
  | 'momentum'
  | 'weight_decay'
  | 'weight'
  | 'velocity'
  | 'statistic';

export interface PlanInput {
  readonly name: string;
  readonly role: InputRole;
  readonly dtype: string;
  readonly shape: readonly number[];
  /** The output that holds its next value (weight, velocity, statistic). */
  readonly next?: string;
  /** For a velocity: the weight it belongs to. */
  readonly weight?: string;
  /** Whether the runtime may let `next` be written into the memory of this input: every reader of the old value
   * is an ancestor of the new one. */
  readonly inPlace?: boolean;
}

export interface PlanBlock {
  readonly id: string;
  readonly kind: 'identity' | 'projection';
  readonly shape: readonly (number | string)[] | null;
  readonly coupled: boolean;
  readonly reason: string;
}

/** One half-coupling t = a + f(b) by value names of rev.onnx. */
export interface PlanCoupling {
  readonly id: string;
  readonly a: string;
  readonly b: string;
  readonly f: string;
  readonly t: string;
}

export interface PlanChain {
  readonly id: string;
  readonly input: string;
  readonly output: string;
  readonly couplings: readonly PlanCoupling[];
}

export interface PlanUnit {
  readonly id: string;
  readonly kind: string;
  readonly policy: 'reverse' | 'store' | 'recompute';
  readonly reason: string;
}

/** A stretch of consecutive nodes of one phase and unit, in execution order. */
export interface PlanStep {
  readonly phase: 'forward' | 'recompute' | 'backward' | 'update';
  readonly unit: string;
  readonly nodes: number;
  /** Largest sum of live bytes during this stretch. */
  readonly peakBytes: number;
}

export type BufferCategory =
  'stream' | 'activation' | 'interior' | 'gradient' | 'weightGradient' | 'workspace';

export interface PlanBuffer {
  readonly value: string;
  readonly category: BufferCategory;
  readonly shape: readonly number[];
  readonly bytes: number;
  /** Indices into steps. */
  readonly firstStep: number;
  readonly lastStep: number;
}

/** Predicted memory of one way of training, above the loaded model (weights, optimizer state, batch). */
export interface PlanMemory {
  /** Memory the executor has resident at its highest: live buffers and the operators' own workspace, with what
   * the arena, where it is used, loses between them. */
  readonly peakBytes: number;
  /** What tensors are allocated with: the executor's arena (faster), or, where that would hold much more than is
   * live, the system's allocator. A runtime follows it. */
  readonly allocator: 'arena' | 'system';
  /** Largest sum of buffers in use at once that are not weights, optimizer state or batch. */
  readonly activationBytes: number;
  /** Node at which the sum of buffers and workspace is largest; what it is made of there. */
  readonly peakNode: string;
  readonly byCategory: Readonly<Partial<Record<BufferCategory, number>>>;
}

export interface PlanMeasurement {
  readonly variant: string;
  readonly peakBytes: number;
  readonly activationBytes: number;
  readonly secondsPerStep: number;
}

export interface Plan {
  readonly schemaVersion: number;
  readonly model: {
    readonly name: string;
    /** File names, in the folder of the plan. */
    readonly rev: string;
    readonly train: string;
    readonly source: string;
    readonly parameters: { readonly before: number; readonly after: number };
    readonly weightBytes: number;
  };
  readonly recipe: string;
  readonly assumptions: {
    readonly batch: number;
    readonly imageShape: readonly number[];
    readonly classes: number;
    readonly dtype: 'float32';
    readonly optimizer: 'sgd';
    readonly nesterov: boolean;
    readonly target: string;
    readonly policy: string;
    readonly seed: number;
    readonly opset: number;
    readonly inputShapes: Readonly<Record<string, readonly number[]>>;
  };
  readonly notes: readonly string[];
  readonly inputs: readonly PlanInput[];
  readonly outputs: { readonly loss: string; readonly correct: string; readonly logits: string };
  readonly blocks: readonly PlanBlock[];
  readonly chains: readonly PlanChain[];
  readonly units: readonly PlanUnit[];
  readonly steps: readonly PlanStep[];
  readonly buffers: readonly PlanBuffer[];
  readonly memory: {
    readonly plan: PlanMemory;
    readonly coupledStored: PlanMemory;
    readonly originalStored: PlanMemory;
    /** 1 − plan.activationBytes / originalStored.activationBytes */
    readonly savedRatio: number;
  };
  readonly cost: {
    /** One forward pass of the original, in floating point operations. */
    readonly forwardFlops: number;
    /** One training step of the original with stored activations. */
    readonly stepFlopsBefore: number;
    /** One training step under this plan. */
    readonly stepFlopsAfter: number;
    readonly ratio: number;
  };
  readonly measured: readonly PlanMeasurement[];
}
