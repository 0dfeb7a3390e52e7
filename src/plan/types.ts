// The plan: contract between the compiler, the runtimes and the reports. Written as <name>.plan.json beside
// the step graph it describes. Invariant: made from the same inputs, byte for byte the same.
//
// plan.schema.json says the same as a published JSON Schema; it is made from this file, comments included. After a
// change here: npm run schema.

/** Raised when a field changes its meaning or goes away. */
export const PLAN_SCHEMA_VERSION = 2;

/**
 * A whole number of bytes, elements, samples or places.
 * @asType integer
 * @minimum 0
 */
export type Count = number;

/** What an input of the step graph is for; src/autodiff/optimizer.ts says what the optimizer's are. */
export type InputRole =
  | 'images'
  | 'labels'
  /** Whatever else the network takes beside the images (or token numbers): a mask, segment numbers. */
  | 'side'
  /** Two int32 that change from step to step: what dropout draws from. Absent where nothing is random. */
  | 'seed'
  // Settings of one step.
  | 'learning_rate'
  | 'weight_decay'
  | 'momentum'
  | 'beta1'
  | 'beta2'
  | 'beta1_rest'
  | 'beta2_rest'
  | 'epsilon'
  | 'bias1'
  | 'bias2'
  | 'carry'
  | 'gain'
  // What goes from step to step.
  | 'weight'
  | 'velocity'
  | 'moment1'
  | 'moment2'
  | 'gradient_sum'
  | 'statistic';

type StateRole = 'weight' | 'velocity' | 'moment1' | 'moment2' | 'gradient_sum' | 'statistic';

/** The inputs a runtime feeds with the settings of a step. */
export type ScalarRole = Exclude<InputRole, 'images' | 'labels' | 'side' | 'seed' | StateRole>;

export interface PlanInput {
  readonly name: string;
  readonly role: InputRole;
  readonly dtype: string;
  readonly shape: readonly Count[];
  /** The output that holds its next value (weight, optimizer state, statistic). */
  readonly next?: string;
  /** For a tensor of the optimizer: the weight it belongs to. */
  readonly weight?: string;
  /** Whether the runtime may let `next` be written into the memory of this input: every reader of the old value
   * is an ancestor of the new one. */
  readonly inPlace?: boolean;
  /** For token numbers: the rows of the table they are looked up in; they count from 0. */
  readonly limit?: Count;
}

/** A residual connection, coupled or left. */
export interface PlanBlock {
  readonly id: string;
  /** Name of its Add in the original. */
  readonly add: string;
  readonly kind: 'identity' | 'projection';
  readonly shape: readonly (number | string)[] | null;
  readonly coupled: boolean;
  /** The reason as a word, the same for all models: "coupled", "tapped", "parallel". */
  readonly code: string;
  /** The reason in words. */
  readonly reason: string;
  /** What the user could change; null: nothing. */
  readonly advice: string | null;
}

/** One half-coupling by value names of rev.onnx: state (a, b) before, (carried, t) after. t = a + f(b) and carried = b,
 * or, at a stage transition, t = S(a) + f(b) and carried = S'(b). */
export interface PlanCoupling {
  readonly id: string;
  readonly a: string;
  readonly b: string;
  readonly f: string;
  readonly t: string;
  readonly carried: string;
}

export interface PlanChain {
  readonly id: string;
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
  readonly nodes: Count;
  /** Largest sum of live bytes during this stretch. */
  readonly peakBytes: Count;
}

export type BufferCategory =
  'stream' | 'activation' | 'interior' | 'gradient' | 'weightGradient' | 'workspace';

export interface PlanBuffer {
  readonly value: string;
  readonly category: BufferCategory;
  readonly shape: readonly Count[];
  readonly bytes: Count;
  /** Indices into steps. */
  readonly firstStep: Count;
  readonly lastStep: Count;
}

/**
 * Where the tensors of a step get their memory from. pattern: one block for the whole step, laid out from the step
 * before it. system: fresh memory for every tensor, the least bytes, and up to twice the time.
 */
export const ALLOCATORS = ['pattern', 'system'] as const;
export type Allocator = (typeof ALLOCATORS)[number];

/** Predicted memory of one way of training, above the loaded model (weights, optimizer state, batch). */
export interface PlanMemory {
  /** Memory the executor has resident at its highest: live buffers and the operators' own workspace, with what
   * the allocator loses between them. */
  readonly peakBytes: Count;
  /** What tensors are allocated with; a runtime follows it, unless it is told otherwise. */
  readonly allocator: Allocator;
  /** What ONNX Runtime's graph optimizer is to do: nothing in a deep step, where it would take minutes. One of
   * very many nodes is run segment by segment where the runtime can, and its bytes are of that. */
  readonly graphOptimization: 'all' | 'none';
  /** Largest sum of buffers in use at once that are not weights, optimizer state or batch. */
  readonly activationBytes: Count;
  /** Node at which the sum of buffers and workspace is largest; what it is made of there. */
  readonly peakNode: string;
  readonly byCategory: Readonly<Partial<Record<BufferCategory, Count>>>;
}

/** What a run really took. */
export interface PlanMeasurement {
  /** What was measured: "plan", or a name given by hand. One entry per name. */
  readonly variant: string;
  readonly peakBytes: Count;
  readonly activationBytes: Count;
  /** @minimum 0 */
  readonly secondsPerStep: number;
  readonly threads: Count;
  /** Processor, system and versions it was measured on. */
  readonly machine: string;
}

export interface Plan {
  readonly schemaVersion: Count;
  readonly model: {
    readonly name: string;
    /** File names, in the folder of the plan. */
    readonly rev: string;
    readonly train: string;
    /** File name of the original, without its folder. */
    readonly source: string;
    readonly parameters: { readonly before: Count; readonly after: Count };
    /** Layers with weights on the longest path from input to loss. */
    readonly depth: { readonly before: Count; readonly after: Count };
    readonly weightBytes: Count;
  };
  readonly recipe: string;
  /** What the recipe and single options chose. */
  readonly choices: {
    readonly partition: string;
    readonly match: string;
    readonly stem: string;
    readonly transitions: string;
    readonly head: string;
    readonly batchNorm: string;
    /** Whether dropout of the model is active in training. */
    readonly dropout: string;
  };
  /** The passes that made rev.onnx, in the form --passes takes. */
  readonly passes: string;
  readonly assumptions: {
    readonly batch: Count;
    readonly imageShape: readonly Count[];
    readonly classes: Count;
    readonly dtype: 'float32';
    readonly optimizer: 'sgd' | 'adamw';
    readonly nesterov: boolean;
    /** Largest norm of all gradients together; 0: no limit. */
    readonly clipNorm: number;
    /** Batches whose gradients are added up before an update. */
    readonly accumulate: Count;
    readonly labelSmoothing: number;
    readonly loss: 'cross-entropy' | 'mse';
    /** Of the output of rev.onnx that is trained: where its classes are; null: it has none. */
    readonly classAxis: Count | null;
    /** The output that --train-output named; null: the first that a loss suits. */
    readonly output: string | null;
    /** A label that does not count; null: all count. */
    readonly ignoreIndex: number | null;
    readonly target: string;
    /** Target cpu: the step uses kernels that work in blocks of so many channels; left out: it uses none. */
    readonly block?: 8 | 16;
    readonly policy: string;
    /** Units whose interior is stored because a budget has room for it; left out: none. */
    readonly stored?: readonly string[];
    readonly seed: Count;
    readonly opset: Count;
    readonly inputShapes: Readonly<Record<string, readonly Count[]>>;
  };
  readonly notes: readonly string[];
  readonly inputs: readonly PlanInput[];
  readonly outputs: {
    readonly loss: string;
    readonly correct: string;
    readonly logits: string;
    /** The output of rev.onnx that is trained. */
    readonly network: string;
  };
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
    readonly forwardFlops: Count;
    /** One training step of the original with stored activations. */
    readonly stepFlopsBefore: Count;
    /** One training step under this plan. */
    readonly stepFlopsAfter: Count;
    readonly ratio: number;
  };
  readonly measured: readonly PlanMeasurement[];
}
