// What a user is told when something cannot be done. In: a code and its subject. Out: one
// DiagnosticError that says what, where, why and what to do. Invariant: every code is in CATALOGUE,
// which fixes its exit status, so that no message is invented far from the others.

/** Exit codes of the command line, documented in README.md. */
export const EXIT = {
  ok: 0,
  internal: 1,
  usage: 2,
  nothingToCouple: 3,
  verificationFailed: 4,
  diverged: 5,
  unsupportedModel: 6,
  runtimeMissing: 7,
  interrupted: 130,
} as const;

interface Entry {
  readonly exit: number;
  /** What went wrong, in one sentence without the subject. */
  readonly what: string;
  /** What the user can do about it. */
  readonly hint: string;
}

const CATALOGUE = {
  'model/not-found': {
    exit: EXIT.usage,
    what: 'the model file cannot be read',
    hint: 'check the path',
  },
  'model/not-onnx': {
    exit: EXIT.unsupportedModel,
    what: 'the file is not an ONNX model',
    hint: 'pass a file written by torch.onnx.export, tf2onnx or another ONNX exporter',
  },
  'model/damaged': {
    exit: EXIT.unsupportedModel,
    what: 'the ONNX file is damaged',
    hint: 'the file may be truncated: copy or export it again',
  },
  'model/invalid': {
    exit: EXIT.unsupportedModel,
    what: 'the ONNX graph is not well formed',
    hint: 'export the model again; onnx.checker.check_model shows further problems',
  },
  'model/external-data': {
    exit: EXIT.unsupportedModel,
    what: 'external weight data cannot be used',
    hint: 'keep the data file beside the model, under the name recorded in it; --weights init trains from drawn weights instead',
  },
  'model/missing-weights': {
    exit: EXIT.unsupportedModel,
    what: 'a weight has no data',
    hint: 'export the model with its weights (export_params=True), or train from drawn ones with --weights init',
  },
  'model/opset': {
    exit: EXIT.unsupportedModel,
    what: 'the opset of the model is not supported',
    hint: 'export with an opset from 7 to 21',
  },
  'model/no-logits': {
    exit: EXIT.unsupportedModel,
    what: 'no output was found that the loss suits',
    hint: 'cross-entropy needs [batch, classes, …] or [batch, tokens, classes]; --loss mse takes any float output',
  },
  'model/quantized': {
    exit: EXIT.nothingToCouple,
    what: 'the model is quantized',
    hint: 'pass the model as it was before quantization, in floating point',
  },
  'model/training': {
    exit: EXIT.nothingToCouple,
    what: 'the model is already a training graph',
    hint: 'pass the network as it runs in inference (NAME.rev.onnx or NAME.trained.onnx where revnetify made it)',
  },
  'op/unsupported': {
    exit: EXIT.unsupportedModel,
    what: 'an operator is not supported',
    hint: 'export the model without it, or add the operator under src/ops/',
  },
  'op/no-gradient': {
    exit: EXIT.unsupportedModel,
    what: 'an operator on the path from the loss to the weights has no gradient',
    hint: 'export the model without it, or add a gradient rule under src/ops/',
  },
  'op/no-lowering': {
    exit: EXIT.internal,
    what: 'a gradient step has no lowering for the target',
    hint: 'try --target portable, and report this',
  },
  'shape/unknown': {
    exit: EXIT.unsupportedModel,
    what: 'a shape is not known',
    hint: 'pass --input-shape name:d,d,… and --batch N',
  },
  'shape/mismatch': {
    exit: EXIT.unsupportedModel,
    what: 'shapes do not fit together',
    hint: 'check --input-shape and --batch; the model may only accept the size it was exported for',
  },
  'couple/nothing': {
    exit: EXIT.nothingToCouple,
    what: 'there is no residual block that can be coupled',
    hint: 'revnetify inspect MODEL lists every candidate and its reason; --recipe none trains the network as it is',
  },
  'pass/failed': {
    exit: EXIT.internal,
    what: 'a pass failed',
    hint: 'this is a bug in the pass; please report it with the model',
  },
  'pass/invalid': {
    exit: EXIT.usage,
    what: 'this is not a pass',
    hint: 'see "Passes of your own" in README.md for a pass that works',
  },
  'pass/unknown': {
    exit: EXIT.usage,
    what: 'a pipeline cannot be understood',
    hint: 'revnetify --list-passes lists the passes and their options',
  },
  'verify/failed': {
    exit: EXIT.verificationFailed,
    what: 'verification failed',
    hint: 'do not train with these files; please report it with the model',
  },
  'memory/budget': {
    exit: EXIT.usage,
    what: 'the network does not fit in the memory given',
    hint: 'raise --budget, lower --batch (and add up gradients with --accumulate), or halve the streams with --partition split',
  },
  'usage/option': {
    exit: EXIT.usage,
    what: 'an option has a value that cannot be used',
    hint: 'revnetify --help lists the options',
  },
  'usage/output': {
    exit: EXIT.usage,
    what: 'the output cannot be written',
    hint: 'choose another folder with -o, or pass --force to replace earlier output',
  },
  'data/invalid': {
    exit: EXIT.usage,
    what: 'the training data cannot be used',
    hint: 'see "Training data" in README.md for the accepted layouts',
  },
  'train/invalid': {
    exit: EXIT.usage,
    what: 'the folder does not hold a usable training step',
    hint: 'make it with: revnetify MODEL.onnx -o DIR',
  },
  'plan/invalid': {
    exit: EXIT.usage,
    what: 'the plan cannot be read',
    hint: 'pass the *.plan.json that revnetify MODEL.onnx -o DIR wrote',
  },
  'train/diverged': {
    exit: EXIT.diverged,
    what: 'the training has diverged: it no longer has finite numbers',
    hint: 'lower --lr, or add --warmup',
  },
  'checkpoint/exists': {
    exit: EXIT.usage,
    what: 'there are checkpoints of an earlier training',
    hint: 'pass --resume to continue it, or remove them, or choose another --checkpoint-dir',
  },
  'checkpoint/other': {
    exit: EXIT.usage,
    what: 'the checkpoint belongs to another training',
    hint: 'repeat the settings it was made with, or choose another --checkpoint-dir',
  },
  'checkpoint/damaged': {
    exit: EXIT.usage,
    what: 'the checkpoint cannot be read',
    hint: 'remove it to start from the beginning',
  },
  'export/operator': {
    exit: EXIT.unsupportedModel,
    what: 'the network cannot be written in PyTorch',
    hint: 'export the model without it, or add its form under src/emit/torch/ops/',
  },
  'import/weights': {
    exit: EXIT.usage,
    what: 'the weights do not fit the model',
    hint: 'pass the state_dict of the package that revnetify export torch made of this folder, saved as safetensors',
  },
  'device/unavailable': {
    exit: EXIT.runtimeMissing,
    what: 'the device cannot be used',
    hint: 'revnetify doctor shows which devices work here, why others do not, and how to get them',
  },
  'device/target': {
    exit: EXIT.usage,
    what: 'the training step is not made for this device',
    hint: 'compile the model again with --target portable',
  },
  'device/blocked': {
    exit: EXIT.usage,
    what: 'the blocked layout is not that of this CPU',
    hint: 'compile the model again on this machine, or with --target cpu, which runs on any',
  },
  'device/fallback': {
    exit: EXIT.unsupportedModel,
    what: 'the device does not run every operator of the step',
    hint: 'train with --device cpu, or export the model without that operator; please report it if the model is a common one',
  },
  'device/failed': {
    exit: EXIT.runtimeMissing,
    what: 'the device gave up during a step',
    hint: 'compile with a smaller --batch if it ran out of memory; --device cpu trains without it',
  },
  'runtime/missing': {
    exit: EXIT.runtimeMissing,
    what: 'onnxruntime-node cannot be loaded',
    hint: 'run npm install in the folder of revnetify; see README.md, "Installing"',
  },
} as const satisfies Record<string, Entry>;

export type DiagnosticCode = keyof typeof CATALOGUE;

/** Every code there is. */
export const CODES = Object.keys(CATALOGUE) as readonly DiagnosticCode[];

/** A problem the user can act on: printed as one message, never with a stack. */
export class DiagnosticError extends Error {
  readonly exitCode: number;
  /** What the user can do about it. */
  readonly hint: string;

  /**
   * @param code entry of the catalogue
   * @param where the file, node or option it happened at
   * @param why the particular reason
   * @param hint replaces the catalogue's advice when something more exact is known
   */
  constructor(
    readonly code: DiagnosticCode,
    readonly where: string,
    readonly why: string,
    hint?: string,
  ) {
    const entry = CATALOGUE[code];
    super(
      `${code}: ${entry.what}\n  where: ${where}\n  why:   ${why}\n  do:    ${hint ?? entry.hint}`,
    );
    this.name = 'DiagnosticError';
    this.hint = hint ?? entry.hint;
    this.exitCode = entry.exit;
  }
}

/** Throws the error that stands for a broken invariant of our own: exit code 1. */
export function invariant(condition: unknown, message: string): asserts condition {
  if (condition === false || condition === undefined || condition === null)
    throw new Error(`internal error: ${message}`);
}
