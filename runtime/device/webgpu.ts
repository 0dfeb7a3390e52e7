// A training step on the GPU, through ONNX Runtime's WebGPU provider. In: the step graph of target portable and its
// initial state. Out: a runner that keeps weights, statistics and the optimizer's tensors in GPU buffers. Invariant: from
// step to step nothing crosses but the batch, the scalars, the loss and the count of correct answers; the state comes
// back only when it is asked for.

import type { InferenceSession, Tensor } from 'onnxruntime-node';
import type { Backend, StepDescription, StepOutputs, StepRunner } from '../backend.js';
import { DiagnosticError } from '../../src/diagnostics/index.js';
import { elementCount } from '../../src/ir/index.js';
import { Operands } from '../operands.js';
import type { RunInputs } from '../operands.js';
import { stateInputs } from '../plan.js';
import { loadRuntime, messageOf, settingsOf, tensorOf } from '../session.js';
import type { Runtime } from '../session.js';
import { Downloader } from './download.js';
import { fallbackError, placementsOf } from './placement.js';
import { FALLBACK_ALLOWED, deviceError, isFallback, requireTarget } from './provider.js';

const ON_DEVICE = 'gpu-buffer';

/** ONNX Runtime's WebGPU provider: every operator on the GPU, or none. */
export const webgpuBackend: Backend = {
  name: 'webgpu',
  prepare: async (step) => {
    requireTarget(step.plan, 'webgpu');
    const runtime = await loadRuntime();
    return new WebGpuRunner(runtime, await openSession(runtime, step), step);
  },
};

/** @throws DiagnosticError device/unavailable, device/fallback, train/invalid */
async function openSession(
  runtime: Runtime,
  { path, plan, session }: StepDescription,
): Promise<InferenceSession> {
  const locations = Object.fromEntries(stateInputs(plan).map(({ next }) => [next, ON_DEVICE]));
  const settings = settingsOf({ ...session, device: 'webgpu' });
  try {
    return await runtime.InferenceSession.create(path, {
      ...settings,
      preferredOutputLocation: locations as Record<string, typeof ON_DEVICE>,
    });
  } catch (error) {
    const message = messageOf(error);
    const lenient = settingsOf({ ...session, device: 'webgpu', extra: FALLBACK_ALLOWED });
    if (isFallback(message))
      throw await fallbackError(path, () =>
        placementsOf(runtime, path, lenient, zeros(runtime, plan)),
      );
    throw (
      deviceError('webgpu', message) ??
      new DiagnosticError('train/invalid', path, `ONNX Runtime: ${message}`)
    );
  }
}

/** Operands for a run whose results do not matter. */
function zeros(runtime: Runtime, { inputs }: StepDescription['plan']): Record<string, Tensor> {
  const arrayOf = (dtype: string, count: number): Parameters<typeof tensorOf>[1] => {
    if (dtype === 'int64') return new BigInt64Array(count);
    if (dtype === 'int32') return new Int32Array(count);
    return dtype === 'bool' ? new Uint8Array(count) : new Float32Array(count);
  };
  return Object.fromEntries(
    inputs.map(({ name, dtype, shape }) => [
      name,
      tensorOf(runtime, arrayOf(dtype, elementCount(shape)), shape),
    ]),
  );
}

class WebGpuRunner implements StepRunner {
  /** Nothing is turned into a tensor of this process but loss and count. */
  readonly copiedBytes = 0;
  private readonly operands: Operands;
  private readonly downloader = new Downloader();
  /** Elements of the state by input name, as they were when last here; empty while only the device has them. */
  private readonly here = new Map<string, Float32Array>();

  constructor(
    runtime: Runtime,
    private readonly session: InferenceSession,
    private readonly step: StepDescription,
  ) {
    const { plan } = step;
    this.operands = new Operands(runtime, plan);
    for (const { name, shape } of stateInputs(plan)) {
      const data = step.state.get(name);
      if (!data) throw new Error(`internal error: ${name} has no initial value`);
      // The first step uploads it.
      this.operands.feeds[name] = new runtime.Tensor('float32', data, shape);
      this.here.set(name, data);
    }
  }

  async run(inputs: RunInputs): Promise<StepOutputs> {
    const { operands, step } = this;
    const { feeds } = operands;
    operands.set(inputs);
    let results: InferenceSession.ReturnType;
    try {
      results = await this.session.run(feeds);
    } catch (error) {
      const why = `ONNX Runtime: ${messageOf(error)}`;
      throw new DiagnosticError('device/failed', step.path, why);
    }
    for (const { name, next } of stateInputs(step.plan)) {
      const [old, fresh] = [feeds[name], results[next]];
      if (fresh?.location !== ON_DEVICE)
        throw new Error(
          `internal error: ${next} is ${fresh?.location ?? 'nowhere'}, not on the GPU`,
        );
      feeds[name] = fresh;
      if (old?.location === ON_DEVICE) old.dispose();
    }
    this.here.clear();
    const { loss, correct } = step.plan.outputs;
    return { loss: scalarOf(results[loss]), correct: scalarOf(results[correct]) };
  }

  async download(): Promise<void> {
    if (this.here.size > 0) return;
    for (const { name } of stateInputs(this.step.plan)) {
      const tensor = this.operands.feeds[name];
      if (tensor) this.here.set(name, await this.downloader.read(tensor));
    }
  }

  state(name: string): Float32Array {
    const data = this.here.get(name);
    if (!data) throw new Error(`${name} is on the GPU: await download() before it is read`);
    return data;
  }

  async dispose(): Promise<void> {
    for (const { name } of stateInputs(this.step.plan)) {
      const tensor = this.operands.feeds[name];
      if (tensor?.location === ON_DEVICE) tensor.dispose();
    }
    await this.downloader.dispose();
    await this.session.release();
  }
}

const scalarOf = (tensor: Tensor | undefined): number =>
  tensor?.data instanceof Float32Array ? (tensor.data[0] ?? NaN) : NaN;
