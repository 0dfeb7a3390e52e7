// Does a device work? The process that tries it: a driver that crashes takes nothing else with it. In: the device, as an
// argument. Out: one message. Invariant: the answer is yes only if the device has computed something, and rightly.

import { availableParallelism } from 'node:os';
import { Model } from '../../src/ir/index.js';
import type { BlockSize } from '../../src/ir/index.js';
import { encodeModel } from '../../src/onnx/index.js';
import { loadRuntime, messageOf, settingsOf } from '../session.js';
import { probeBlock } from './block.js';
import { DEVICES, deviceError } from './provider.js';

/** What the process answers. */
export interface ProbeAnswer {
  /** Of onnxruntime-node; undefined: it cannot be loaded. */
  readonly version?: string;
  /** Devices that this build of onnxruntime-node knows. */
  readonly known: readonly string[];
  /** Undefined: it works. */
  readonly why?: string;
  /** Of the CPU's kernels in blocked layout; null: it has none. */
  readonly block?: BlockSize | null;
}

const OPSET = 17;
const COUNT = 64;

/** x + x, which is nothing before x is there. */
function doubling(): Uint8Array {
  const model = new Model();
  model.opsets.set('', OPSET);
  const { graph } = model;
  graph.name = 'probe';
  const type = { dtype: 'float32', shape: [COUNT] } as const;
  const x = graph.addInput('x', type);
  const y = graph.addNode({ op: 'Add', inputs: [x, x], outputs: ['y'], name: 'twice' }).output();
  y.type = type;
  graph.outputs.push(y);
  return encodeModel(model).bytes;
}

async function probe(name: string): Promise<ProbeAnswer> {
  const device = DEVICES.find((candidate) => candidate === name) ?? 'cpu';
  let known: string[] = [];
  let version: string | undefined;
  try {
    const { InferenceSession, Tensor, env, listSupportedBackends } = await loadRuntime();
    version = env.versions.node ?? env.versions.common;
    known = listSupportedBackends().map((backend) => backend.name);
    const threads = Math.min(2, availableParallelism());
    const session = await InferenceSession.create(doubling(), settingsOf({ device, threads }));
    const x = Float32Array.from({ length: COUNT }, (_, i) => i - 1.5);
    const { y } = await session.run({ x: new Tensor('float32', x, [COUNT]) });
    await session.release();
    const right =
      y?.data instanceof Float32Array && y.data.every((v, i) => v === 2 * (x[i] ?? NaN));
    if (!right) return { version, known, why: 'it computes x + x wrongly' };
    return { version, known, ...(device === 'cpu' ? { block: (await probeBlock()) ?? null } : {}) };
  } catch (error) {
    const message = messageOf(error);
    const why = deviceError(device, message)?.why ?? message;
    return { ...(version === undefined ? {} : { version }), known, why };
  }
}

void probe(process.argv[2] ?? '').then((answer) => {
  process.send?.(answer, () => {
    process.disconnect();
  });
});
