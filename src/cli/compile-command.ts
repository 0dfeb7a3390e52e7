// revnetify MODEL: model → rev, train, plan. Thin: options in, compiler and verifier called, result printed.

import { freemem } from 'node:os';
import { resolve } from 'node:path';
import type { Command } from 'commander';
import { BATCH_NORM, DROPOUT, LOSSES, RECIPES, TRANSITIONS } from '../../passes/index.js';
import type { BatchNorm, Dropout, LossKind, Recipe, Transitions } from '../../passes/index.js';
import { probeBlock } from '../../runtime/device/index.js';
import type { OptimizerName } from '../autodiff/index.js';
import { checkOutput, compile, compileFile, modelName, prepareFolder } from '../compiler/index.js';
import type { CompileOptions, Compiled, CompiledModels } from '../compiler/index.js';
import { DiagnosticError } from '../diagnostics/index.js';
import type { Model } from '../ir/index.js';
import { checkWeights, missingWeights, readModel } from '../onnx/index.js';
import { HEADS, MATCHES, PARTITIONS, STEMS, drawWeights } from '../reversible/index.js';
import type { Head, Match, Partition, Stem } from '../reversible/index.js';
import type { Policy } from '../schedule/index.js';
import { verificationBytes, verifyModel } from '../verify/index.js';
import type { VerifyResult } from '../verify/index.js';
import { describe, summary } from './compile-report.js';
import {
  counted,
  formatBytes,
  outputOptions,
  printJson,
  printResult,
  remark,
  reportingOptions,
} from './output.js';
import type { OutputOptions, ReportingOptions } from './output.js';
import { addPassOptions, describePasses, preparePasses } from './pass-options.js';
import type { PassOptions, PassRun } from './pass-options.js';
import {
  budget,
  fraction,
  inputShape,
  nonNegative,
  oneOf,
  positiveInteger,
  wholeNumber,
  wholeOrNegative,
} from './parse.js';

const TARGETS = ['auto', 'cpu', 'cpu-blocked', 'portable'] as const;

interface Options extends PassOptions, ReportingOptions {
  readonly output: string;
  readonly recipe: Recipe;
  readonly partition: Partition;
  readonly match: Match;
  readonly stem?: Stem;
  readonly transitions?: Transitions;
  readonly head?: Head;
  readonly batchNorm: BatchNorm;
  readonly dropout: Dropout;
  readonly policy: Policy;
  readonly budget?: number | 'free';
  readonly batch: number;
  readonly inputShape?: ReadonlyMap<string, readonly number[]>;
  readonly target: (typeof TARGETS)[number];
  readonly optimizer: OptimizerName;
  readonly nesterov: boolean;
  readonly clipNorm: number;
  readonly accumulate: number;
  readonly labelSmoothing: number;
  readonly loss?: LossKind;
  // Not --output, which is the folder.
  readonly trainOutput?: string;
  readonly ignoreIndex?: number;
  readonly seed: number;
  readonly weights: 'file' | 'init';
  readonly verify: boolean;
  readonly force: boolean;
}

export function addCompileCommand(program: Command): void {
  program
    .argument('[model.onnx]', 'the residual network to convert')
    .option('-o, --output <dir>', 'folder for the results', 'out')
    .option(
      '--recipe <name>',
      'paper: two streams from stem to head; rewire: same weights, coupled within stages; none: leave the network as it is',
      oneOf('--recipe', RECIPES),
      'paper',
    )
    .option(
      '--partition <name>',
      'widen: two streams as wide as the original; split: two of half the width',
      oneOf('--partition', PARTITIONS),
      'widen',
    )
    .option(
      '--match <name>',
      'choose inner widths so that params or flops equal the original; none: do not',
      oneOf('--match', MATCHES),
      'none',
    )
    .option(
      '--stem <name>',
      'widened: the second stream has channels of its own; duplicated: both start alike (default: of the recipe)',
      oneOf('--stem', STEMS),
    )
    .option(
      '--transitions <name>',
      'coupled: a shortcut per stream where the shape changes; stored: an ordinary block (default: of the recipe)',
      oneOf('--transitions', TRANSITIONS),
    )
    .option(
      '--head <name>',
      'concat: the head reads both streams; average: their mean (default: of the recipe)',
      oneOf('--head', HEADS),
    )
    .option(
      '--batch-norm <name>',
      'restore: put back batch norm that the export folded away; keep: take the model as it is',
      oneOf('--batch-norm', BATCH_NORM),
      'restore',
    )
    .option(
      '--dropout <name>',
      'keep: dropout and stochastic depth of the model are active in training; remove: train without',
      oneOf('--dropout', DROPOUT),
      'keep',
    )
    .option(
      '--policy <name>',
      'reverse: recompute from outputs; recompute: checkpoint; store: keep everything',
      oneOf('--policy', ['reverse', 'store', 'recompute']),
      'reverse',
    )
    .option(
      '--budget <size>',
      "memory that training may take (8GB, 500MB) for weights, the optimizer's tensors, a batch and the step's peak: " +
        'what fits is stored and not recomputed; free: in the memory it takes anyway, within 3 %',
      budget('--budget'),
    )
    .option('--batch <n>', 'batch size of the training step', positiveInteger('--batch'), 32)
    .option(
      '--input-shape <name:d,d,…>',
      'shape of an input with open dimensions; may be repeated',
      inputShape,
    )
    .option(
      '--target <name>',
      "cpu: fast on ONNX Runtime CPU; cpu-blocked: faster where channels are multiples of 8 or 16, with ONNX Runtime's own operators and for CPUs like this one; auto: cpu-blocked where this CPU has the kernels, else cpu; portable: plain operators for any provider",
      oneOf('--target', TARGETS),
      'cpu',
    )
    .option(
      '--optimizer <name>',
      'sgd: with momentum; adamw: two tensors more per weight instead of one',
      oneOf('--optimizer', ['sgd', 'adamw']),
      'sgd',
    )
    .option('--nesterov', 'Nesterov momentum, for sgd', false)
    .option(
      '--clip-norm <x>',
      'limit the norm of all gradients together; every gradient is then kept until the last is known: ' +
        'memory of one more copy of the weights',
      nonNegative('--clip-norm'),
      0,
    )
    .option(
      '--accumulate <k>',
      'add up the gradients of k batches before an update; keeps one more copy of the weights',
      positiveInteger('--accumulate'),
      1,
    )
    .option(
      '--loss <name>',
      'cross-entropy: one label per sample, pixel or token; mse: targets like the output (default: what suits the output)',
      oneOf('--loss', LOSSES),
    )
    .option(
      '--train-output <name>',
      'the output to train, of several (default: the first that a loss suits)',
    )
    .option(
      '--ignore-index <n>',
      'a label that does not count, for cross-entropy: -100 or 255, say',
      wholeOrNegative('--ignore-index'),
    )
    .option(
      '--label-smoothing <x>',
      'share of the target spread over all classes',
      fraction('--label-smoothing'),
      0,
    )
    .option(
      '--seed <n>',
      'seed of new weights and of the verification data',
      wholeNumber('--seed'),
      0,
    )
    .option(
      '--weights <name>',
      'file: as the model has them; init: draw those whose data is missing',
      oneOf('--weights', ['file', 'init']),
      'file',
    )
    .option('--no-verify', 'do not check gradients after compiling')
    .option('--force', 'replace files that an earlier run did not make', false)
    .action(async (path: string | undefined, options: Options) => {
      if (options.listPasses) printResult(await describePasses(options));
      else if (path === undefined) program.error("error: missing required argument 'model.onnx'");
      else await compileCommand(path, options);
    });
  addPassOptions(program);
  reportingOptions(program);
}

async function compileCommand(path: string, options: Options): Promise<void> {
  const out = outputOptions(options);
  if (options.nesterov && options.optimizer !== 'sgd')
    throw new DiagnosticError('usage/option', '--nesterov', `${options.optimizer} has no momentum`);
  const name = modelName(path);
  const dir = resolve(options.output);
  checkOutput(dir, name, options.force, path);
  const passes = await preparePasses(options, dir, out);
  const model = readModel(path);
  if (options.weights === 'init') initialise(model, options.seed, out);
  checkWeights(model);
  const settings: CompileOptions = {
    name,
    source: path,
    recipe: options.recipe,
    partition: options.partition,
    match: options.match,
    stem: options.stem,
    transitions: options.transitions,
    head: options.head,
    batchNorm: options.batchNorm,
    dropout: options.dropout,
    policy: options.policy,
    ...(options.budget === undefined ? {} : { budget: options.budget }),
    batch: options.batch,
    ...(await targetOf(options.target)),
    optimizer: options.optimizer,
    nesterov: options.nesterov,
    clipNorm: options.clipNorm,
    accumulate: options.accumulate,
    labelSmoothing: options.labelSmoothing,
    loss: options.loss,
    output: options.trainOutput,
    ignoreIndex: options.ignoreIndex,
    seed: options.seed,
    ...(options.inputShape ? { inputShapes: options.inputShape } : {}),
    pipeline: passes.pipeline,
    instruments: passes.instruments,
  };
  // Encoded while the plan waits for its baselines.
  const prepared: { write?: ReturnType<typeof prepareFolder> } = {};
  const compiled = await compileWith(
    passes,
    model,
    settings,
    options.weights === 'file',
    (made) => {
      prepared.write = prepareFolder(made, name, dir);
    },
  );
  for (const note of compiled.state.notes) remark(`note: ${note}`, out);
  let verified: VerifyResult | null = null;
  if (options.verify && fitsVerification(compiled.rev, out)) {
    remark('verifying gradients (--no-verify skips this) …', out);
    verified = await verifyModel(compiled.rev, compiled.state.chains, compiled.state.settings, {
      seed: options.seed,
    });
    if (!verified.passed && !options.force)
      throw new DiagnosticError(
        'verify/failed',
        path,
        `${verified.failures.join('; ')}. Nothing was written`,
      );
  }
  const [rev = '', train = '', plan = ''] = (prepared.write ?? prepareFolder(compiled, name, dir))(
    compiled.plan,
  );
  if (out.json) printJson(summary(path, compiled, { rev, train, plan }, verified));
  else printResult(describe(compiled, { rev, train, plan }, verified, out));
  if (verified && !verified.passed) process.exitCode = 4;
}

/** @throws DiagnosticError usage/option where there are no blocked kernels and none but those will do */
async function targetOf(
  name: Options['target'],
): Promise<Pick<CompileOptions, 'target' | 'block'>> {
  if (name === 'portable' || name === 'cpu') return { target: name };
  const block = await probeBlock();
  if (block === undefined && name === 'cpu-blocked')
    throw new DiagnosticError(
      'usage/option',
      '--target cpu-blocked',
      'ONNX Runtime has no kernels in blocked layout for this CPU; --target auto takes them where there are any',
    );
  return { target: 'cpu', block };
}

/** Gives the weights without data initial values, and says so, in the model too. */
function initialise(model: Model, seed: number, out: OutputOptions): void {
  const missing = missingWeights(model);
  if (missing.length === 0) return;
  drawWeights(missing, seed);
  model.metadata.set('revnetify.initial_weights', `${missing.length} drawn, seed ${seed}`);
  remark(`note: ${counted(missing.length, 'weight')} without data drawn with seed ${seed}`, out);
}

/** Whether there is memory to check gradients with; a process that is killed for it would tell nothing. */
function fitsVerification(rev: Compiled['rev'], out: OutputOptions): boolean {
  const [needed, free] = [verificationBytes(rev), freemem()];
  if (needed <= free) return true;
  remark(
    `note: gradients are not verified: that takes about ${formatBytes(needed)}, ${formatBytes(free)} are free; ` +
      'revnetify verify DIR does it where there is more',
    out,
  );
  return false;
}

/** @param isAsRead the model is what its file says */
async function compileWith(
  passes: PassRun,
  model: Model,
  settings: CompileOptions,
  isAsRead: boolean,
  meanwhile: (models: CompiledModels) => void,
): Promise<Compiled> {
  try {
    return isAsRead ? await compileFile(model, settings, meanwhile) : compile(model, settings);
  } finally {
    passes.report();
  }
}
