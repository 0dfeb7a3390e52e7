// The block size of ONNX Runtime's kernels on this CPU (passes/block-layout.ts). In: nothing. Out: 8, 16 or none. Invariant:
// read off what a kernel does, not off the name of the CPU.

import { DiagnosticError } from '../../src/diagnostics/index.js';
import { BLOCK_SIZES, Model, NCHWC } from '../../src/ir/index.js';
import type { BlockSize } from '../../src/ir/index.js';
import { encodeModel } from '../../src/onnx/index.js';
import type { Plan } from '../../src/plan/index.js';
import { loadRuntime, settingsOf } from '../session.js';

const OPSET = 17;
/** Of a map of so many channels and two places; element 2·c is the first of channel c. */
const CHANNELS = 16;

function reordering(): Uint8Array {
  const model = new Model();
  model.opsets.set('', OPSET);
  model.opsets.set(NCHWC, 1);
  const { graph } = model;
  graph.name = 'probe';
  const type = { dtype: 'float32', shape: [1, CHANNELS, 1, 2] } as const;
  const x = graph.addInput('x', type);
  const node = graph.addNode({ op: 'ReorderInput', domain: NCHWC, inputs: [x], outputs: ['y'] });
  node.name = 'reorder';
  node.output().type = type;
  graph.outputs.push(node.output());
  return encodeModel(model).bytes;
}

async function probe(): Promise<BlockSize | undefined> {
  const { InferenceSession, Tensor } = await loadRuntime();
  try {
    const session = await InferenceSession.create(reordering(), settingsOf({ threads: 1 }));
    const x = Float32Array.from({ length: 2 * CHANNELS }, (_, i) => i);
    const { y } = await session.run({ x: new Tensor('float32', x, [1, CHANNELS, 1, 2]) });
    await session.release();
    // All first places of a block come before its second ones, which begin with element 1.
    const size = Array.from(y?.data as Float32Array).indexOf(1);
    return BLOCK_SIZES.find((block) => block === size);
  } catch {
    // A build without these kernels refuses the model.
    return undefined;
  }
}

let known: Promise<BlockSize | undefined> | undefined;

/** @throws DiagnosticError runtime/missing */
export const probeBlock = (): Promise<BlockSize | undefined> => (known ??= probe());

/** @throws DiagnosticError device/blocked where the step was made for kernels of another block size */
export async function requireBlock({ assumptions: { block }, model }: Plan): Promise<void> {
  if (block === undefined) return;
  const own = await probeBlock();
  if (own === block) return;
  throw new DiagnosticError(
    'device/blocked',
    model.train,
    `it is laid out in blocks of ${block} channels, and ONNX Runtime here ${own === undefined ? 'has no such kernels' : `works in blocks of ${own}`}`,
  );
}
