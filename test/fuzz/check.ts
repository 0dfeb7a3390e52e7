// One fuzz case through the whole compiler. In: bytes of a file and a random generator for the settings. Out: 'ok' or
// the code of the message it ended in. Invariant: anything else that is thrown is a bug, and so is a message that says
// that one of our own passes is broken.

import type { Settings } from '../../passes/index.js';
import { analyseModel, compile } from '../../src/compiler/index.js';
import { DiagnosticError } from '../../src/diagnostics/index.js';
import type { Model } from '../../src/ir/index.js';
import { parse } from '../../src/ir/parse.js';
import { print } from '../../src/ir/print.js';
import { decodeModel, encodeModel } from '../../src/onnx/index.js';
import type { Random } from '../../src/ops/index.js';

/** Messages that blame the compiler, not the model. */
const OURS = new Set<string>(['pass/failed', 'op/no-lowering', 'verify/failed']);
/** Larger models are not parsed back from text. */
const PRINTED = 300_000;

const pick = <T>(random: Random, items: readonly [T, ...T[]]): T =>
  items[random.integer(0, items.length - 1)] ?? items[0];

function randomSettings(random: Random): Partial<Settings> {
  return {
    recipe: pick(random, ['paper', 'rewire', 'none']),
    partition: pick(random, ['widen', 'split']),
    match: pick(random, ['none', 'params', 'flops']),
    policy: pick(random, ['reverse', 'reverse', 'store', 'recompute']),
    target: pick(random, ['cpu', 'portable']),
    optimizer: pick(random, ['sgd', 'adamw']),
    block: pick(random, [undefined, undefined, 8]),
    batch: pick(random, [2, 1, 3, 8]),
    accumulate: pick(random, [1, 1, 2]),
    clipNorm: pick(random, [0, 0, 1]),
    labelSmoothing: pick(random, [0, 0.1]),
    batchNorm: pick(random, ['restore', 'keep']),
  };
}

/** The code of the message that `work` ends in, or nothing; other exceptions go on. */
function codeOf(work: () => void): string | undefined {
  try {
    work();
    return undefined;
  } catch (error) {
    if (!(error instanceof DiagnosticError) || OURS.has(error.code)) throw error;
    return error.code;
  }
}

function roundTrip(bytes: Uint8Array, model: Model): void {
  if (!Buffer.from(encodeModel(model).bytes).equals(bytes))
    throw new Error('what was read is not written back byte for byte');
  const shown = print(model, { elide: true });
  const hasSubgraph = [...model.graph.nodes].some((node) =>
    [...node.attributes.entries()].some(([, { kind }]) => kind === 'opaque'),
  );
  if (hasSubgraph || bytes.length > PRINTED || shown.length === 0) return;
  // Damaged weights have no text.
  let text = '';
  if (codeOf(() => (text = print(model))) !== undefined) return;
  if (print(parse(text)) !== text) throw new Error('the text form does not read back as the model');
}

/** @returns ok, or the code of the last message */
export function checkCase(bytes: Uint8Array, random: Random): string {
  const settings = randomSettings(random);
  const unread = codeOf(() => {
    roundTrip(bytes, decodeModel(bytes));
  });
  if (unread !== undefined) return unread;
  const inspected = codeOf(() => analyseModel(decodeModel(bytes), settings));
  const compiled = codeOf(() => {
    const { rev, train } = compile(decodeModel(bytes), {
      name: 'fuzz',
      source: 'fuzz',
      ...settings,
    });
    encodeModel(rev);
    encodeModel(train);
  });
  if (compiled === undefined && inspected !== undefined)
    throw new Error(`it compiles, but inspect ends in ${inspected}`);
  return compiled ?? 'ok';
}
