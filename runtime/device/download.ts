// Tensors from the GPU to this process. In: a tensor in a GPU buffer. Out: its elements. Invariant: one tensor at a time,
// so that reading a network's weights takes no more GPU memory than the largest of them.
//
// onnxruntime-node has no way of its own to read such a tensor (getData() ends the process): it is handed to a session
// whose result stays on the CPU.

import type { InferenceSession, Tensor } from 'onnxruntime-node';
import { Model } from '../../src/ir/index.js';
import { encodeModel } from '../../src/onnx/index.js';
import { loadRuntime, settingsOf } from '../session.js';

const INPUT = 'on_device';
const OUTPUT = 'here';
const OPSET = 17;

function identityModel(): Uint8Array {
  const model = new Model();
  model.opsets.set('', OPSET);
  const { graph } = model;
  graph.name = 'download';
  // Of any rank: one session serves for all tensors.
  const input = graph.addInput(INPUT, { dtype: 'float32', shape: undefined });
  const result = graph
    .addNode({ op: 'Identity', inputs: [input], outputs: [OUTPUT], name: 'read' })
    .output();
  result.type = { dtype: 'float32', shape: undefined };
  graph.outputs.push(result);
  return encodeModel(model).bytes;
}

export class Downloader {
  private session: InferenceSession | undefined;

  /** The elements of a float32 tensor, in an array of their own. */
  async read(tensor: Tensor): Promise<Float32Array> {
    this.session ??= await open();
    const result = (await this.session.run({ [INPUT]: tensor }))[OUTPUT];
    if (!(result?.data instanceof Float32Array))
      throw new Error('internal error: a tensor of the device could not be read');
    return result.data;
  }

  async dispose(): Promise<void> {
    await this.session?.release();
    this.session = undefined;
  }
}

async function open(): Promise<InferenceSession> {
  const { InferenceSession } = await loadRuntime();
  return InferenceSession.create(identityModel(), settingsOf({ device: 'webgpu' }));
}
