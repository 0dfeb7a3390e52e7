// Devices: what runs a step where.

import { cpuBackend, wholeBackend } from '../backend.js';
import type { Backend } from '../backend.js';
import { requireTarget } from './provider.js';
import type { Device } from './provider.js';
import { webgpuBackend } from './webgpu.js';

export { probeBlock, requireBlock } from './block.js';
export { DEVICES, requireTarget } from './provider.js';
export type { Device } from './provider.js';
export { webgpuBackend } from './webgpu.js';

/**
 * ONNX Runtime's CUDA provider. onnxruntime-node binds no buffers of it: weights cross the bus with every step,
 * activations do not.
 */
const cudaBackend: Backend = {
  name: 'cuda',
  prepare: (step) => {
    requireTarget(step.plan, 'cuda');
    return wholeBackend.prepare({ ...step, session: { ...step.session, device: 'cuda' } });
  },
};

const BACKENDS: Readonly<Record<Device, Backend>> = {
  cpu: cpuBackend,
  webgpu: webgpuBackend,
  cuda: cudaBackend,
};

/** What runs steps on a device. */
export const backendOf = (device: Device): Backend => BACKENDS[device];
