// What the passes work on: the model and what has been found out about it. In: a model and settings. Out: the
// same, more complete after every pass. Invariant: values and nodes named here belong to state.model.

import type { ExaminedAdd, ReasonCode, ResidualBlock } from '../src/analysis/index.js';
import type {
  BackwardResult,
  OptimizerName,
  ScalarRole,
  WeightUpdate,
} from '../src/autodiff/index.js';
import type { Execution } from '../src/memory/index.js';
import type { BlockSize, Model, Value } from '../src/ir/index.js';
import type { Target } from '../src/lowering/index.js';
import type {
  CoupledChain,
  CoupledSection,
  Head,
  Match,
  Partition,
  Stem,
} from '../src/reversible/index.js';
import { HEADS, MATCHES, PARTITIONS, STEMS } from '../src/reversible/index.js';
import { definePass as defineAnyPass } from '../src/rewrite/index.js';
import type { Pass, PassOption } from '../src/rewrite/index.js';
import type { NodeOpsets } from '../src/rewrite/inline/index.js';
import type { Policy, ScheduledUnit } from '../src/schedule/index.js';

export const RECIPES = ['paper', 'rewire', 'none'] as const;
export type Recipe = (typeof RECIPES)[number];

/** What becomes of a block that changes the shape: part of the coupling with a shortcut per stream, or an ordinary
 * block between two chains. */
export const TRANSITIONS = ['coupled', 'stored'] as const;
export type Transitions = (typeof TRANSITIONS)[number];

export const BATCH_NORM = ['restore', 'keep'] as const;
export type BatchNorm = (typeof BATCH_NORM)[number];

/** Whether dropout and stochastic depth of the model are active in training. */
export const DROPOUT = ['keep', 'remove'] as const;
export type Dropout = (typeof DROPOUT)[number];

/** As PyTorch's CrossEntropyLoss and MSELoss. */
export const LOSSES = ['cross-entropy', 'mse'] as const;
export type LossKind = (typeof LOSSES)[number];

/** The choices a recipe stands for. */
export interface Choices {
  readonly stem: Stem;
  readonly transitions: Transitions;
  readonly head: Head;
}

const CHOICES: Readonly<Record<Recipe, Choices>> = {
  paper: { stem: 'widened', transitions: 'coupled', head: 'concat' },
  rewire: { stem: 'duplicated', transitions: 'stored', head: 'average' },
  none: { stem: 'duplicated', transitions: 'stored', head: 'average' },
};

export interface Settings {
  readonly recipe: Recipe;
  readonly partition: Partition;
  readonly match: Match;
  /** Choices that differ from the recipe's; undefined: the recipe's. */
  readonly stem: Stem | undefined;
  readonly transitions: Transitions | undefined;
  readonly head: Head | undefined;
  /** Whether batch norm that an export folded into its convolutions is put back. */
  readonly batchNorm: BatchNorm;
  readonly dropout: Dropout;
  /** Of weights the original does not have. */
  readonly seed: number;
  readonly policy: Policy;
  /** Units whose interior is stored whatever the policy says (compiler/budget.ts). */
  readonly stored: readonly string[];
  readonly target: Target;
  /** Target cpu: the block size of ONNX Runtime's kernels on this CPU, to use them; undefined: plain operators only. */
  readonly block: BlockSize | undefined;
  /** Extent of the batch dimension of the step graph. */
  readonly batch: number;
  /** Shapes given by hand, by input name. */
  readonly inputShapes: ReadonlyMap<string, readonly number[]>;
  readonly optimizer: OptimizerName;
  /** For SGD. */
  readonly nesterov: boolean;
  /** Largest norm of all gradients together; 0: no limit. Then all gradients are kept until the last is there. */
  readonly clipNorm: number;
  /** Batches whose gradients are added up before an update; more than 1 takes a tensor more per weight. */
  readonly accumulate: number;
  /** Share of the target that is spread over all classes, 0 up to 1. */
  readonly labelSmoothing: number;
  /** undefined: what suits the output. */
  readonly loss: LossKind | undefined;
  /** Name of the output that is trained; undefined: the first that a loss suits. */
  readonly output: string | undefined;
  /** A label that does not count; undefined: all count. */
  readonly ignoreIndex: number | undefined;
  /** False only where a test or benchmark shows what the token is for. */
  readonly token: boolean;
}

export const DEFAULT_SETTINGS: Settings = {
  recipe: 'paper',
  partition: 'widen',
  match: 'none',
  stem: undefined,
  transitions: undefined,
  head: undefined,
  batchNorm: 'restore',
  dropout: 'keep',
  seed: 0,
  policy: 'reverse',
  stored: [],
  target: 'cpu',
  block: undefined,
  batch: 32,
  inputShapes: new Map(),
  optimizer: 'sgd',
  nesterov: false,
  clipNorm: 0,
  accumulate: 1,
  labelSmoothing: 0,
  loss: undefined,
  output: undefined,
  ignoreIndex: undefined,
  token: true,
};

/** What the settings mean, recipe and single choices together. */
export function choicesOf({ recipe, stem, transitions, head }: Settings): Choices {
  const own = CHOICES[recipe];
  return {
    stem: stem ?? own.stem,
    transitions: transitions ?? own.transitions,
    head: head ?? own.head,
  };
}

/** What became of one Add, and why. */
export interface AddReport {
  readonly id: string;
  /** Name of the Add. */
  readonly add: string;
  readonly coupled: boolean;
  readonly code: ReasonCode;
  readonly reason: string;
  /** What the user could change; null: nothing. */
  readonly advice: string | null;
}

/** What became of one residual connection. */
export interface BlockReport extends AddReport {
  readonly kind: ResidualBlock['kind'];
  readonly shape: readonly (number | string)[] | undefined;
}

/** A batch norm in training form: where its running statistics live. */
export interface RunningStatistics {
  readonly runningMean: Value;
  readonly runningVariance: Value;
  readonly batchMean: Value;
  readonly batchVariance: Value;
  /** running' = momentum·running + (1 − momentum)·batch (the ONNX convention; PyTorch's is 1 − this). */
  readonly momentum: number;
  /** Elements per channel, N·H·W: PyTorch keeps the unbiased variance, N/(N−1) of the batch's. */
  readonly count: number;
}

export interface Loss {
  readonly kind: LossKind;
  readonly images: Value;
  /** int64 labels, or the float32 targets of a squared error. */
  readonly labels: Value;
  /** What the loss compares with the labels; of cross-entropy, scores with the classes along axis 1. */
  readonly logits: Value;
  /** The other inputs of the network. */
  readonly sides: readonly Value[];
  /** Name of the network's output, before the loss took what it needs of it. */
  readonly output: string;
  /** Where the classes of that output are; undefined: it has none. */
  readonly classAxis: number | undefined;
  /** 0: no classes. */
  readonly classes: number;
  readonly loss: Value;
  /** How many samples of the batch were classified correctly; fractions where a sample has several labels. */
  readonly correct: Value;
}

/** The training step, once differentiated. */
export interface StepState {
  readonly units: readonly ScheduledUnit[];
  readonly backward: BackwardResult;
  readonly updates: readonly WeightUpdate[];
  readonly statistics: readonly { readonly old: Value; readonly next: Value }[];
  /** Scalar inputs by what they mean. */
  readonly scalars: ReadonlyMap<ScalarRole, Value>;
  /** The executor is to leave the graph as it is: see schedule/deep.ts. */
  readonly deep: boolean;
}

export interface CompileState {
  readonly model: Model;
  /** Nodes in another opset than the model's: from functions, or with bodies that are not converted yet. */
  readonly opsets: NodeOpsets;
  settings: Settings;
  /** Every Add of data, residual or not. */
  examined: readonly ExaminedAdd[];
  /** Residual blocks as found, coupled or not. */
  blocks: readonly ResidualBlock[];
  reports: readonly BlockReport[];
  /** The Adds that are no residual connections. */
  others: readonly AddReport[];
  longestRun: number;
  /** Coupled, their ends still open. */
  sections: readonly CoupledSection[];
  /** What --match holds the converted network to: trained numbers or FLOPs of the original. */
  original: number | undefined;
  /** Those that were there already (find-couplings), then all. */
  chains: readonly CoupledChain[];
  statistics: readonly RunningStatistics[];
  loss: Loss | undefined;
  /** Two int32 words that change from step to step; undefined: nothing in the network is random. */
  seed: Value | undefined;
  step: StepState | undefined;
  /** Values of the step whose elements lie in blocks (pass block-layout). */
  blocked: ReadonlySet<Value>;
  /** Of the step as its last pass leaves it; undefined: nobody has simulated that. */
  execution: Execution | undefined;
  /** Things the user should know, in plain words. */
  readonly notes: string[];
}

/** What a pipeline starts from: the model, to be changed in place, and settings with defaults filled in. */
export const createState = (model: Model, settings: Partial<Settings> = {}): CompileState => ({
  model,
  opsets: new Map(),
  settings: { ...DEFAULT_SETTINGS, ...settings },
  examined: [],
  blocks: [],
  reports: [],
  others: [],
  longestRun: 0,
  sections: [],
  original: undefined,
  chains: [],
  statistics: [],
  loss: undefined,
  seed: undefined,
  step: undefined,
  blocked: new Set(),
  execution: undefined,
  notes: [],
});

/**
 * The settings that a pass may be given in a pipeline, as text: couple-residual-blocks{recipe=rewire}. What is given
 * there becomes the setting from that pass on. A new setting that a pass of importPipeline or couplePipeline reads
 * gets a line here and its name in the `settings` of that pass.
 */
const SETTINGS = {
  recipe: { summary: 'how residual blocks become couplings', type: RECIPES },
  partition: { summary: 'streams of full width, or of half', type: PARTITIONS },
  match: { summary: 'what of the original inner widths bring back', type: MATCHES },
  stem: { summary: 'where the second stream starts from', type: STEMS },
  transitions: { summary: 'what becomes of blocks that change the shape', type: TRANSITIONS },
  head: { summary: 'how the streams are joined', type: HEADS },
  batchNorm: { summary: 'whether folded batch norm is put back', type: BATCH_NORM },
  dropout: { summary: 'whether dropout stays, for training', type: DROPOUT },
} as const satisfies Partial<Record<keyof Settings, PassOption>>;

interface BuiltInPass {
  readonly name: string;
  readonly summary: string;
  readonly needs?: readonly string[];
  readonly settings?: readonly (keyof typeof SETTINGS)[];
  readonly run: (state: CompileState) => void;
}

/** Declares a pass of this package; its name must be that of its file. */
export function definePass({ settings = [], run, ...init }: BuiltInPass): Pass<CompileState> {
  const options: Record<string, PassOption> = {};
  for (const name of settings) options[name] = SETTINGS[name];
  const set = (state: CompileState, values: Readonly<Record<string, unknown>>): void => {
    const given = Object.entries(values).filter(([, value]) => value !== undefined);
    state.settings = { ...state.settings, ...Object.fromEntries(given) };
    run(state);
  };
  return defineAnyPass<CompileState, typeof options>({ ...init, options, run: set }, true);
}
