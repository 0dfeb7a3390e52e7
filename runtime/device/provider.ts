// The devices a step runs on. In: a device. Out: what ONNX Runtime is asked for, and its refusals in words a user can
// act on. Invariant: on WebGPU no operator runs anywhere else: a session that would need another provider is refused.

import type { InferenceSession } from 'onnxruntime-node';
import { DiagnosticError } from '../../src/diagnostics/index.js';
import type { Plan } from '../../src/plan/index.js';

export const DEVICES = ['cpu', 'webgpu', 'cuda'] as const;
export type Device = (typeof DEVICES)[number];

type Providers = Pick<
  InferenceSession.SessionOptions,
  'executionProviders' | 'logSeverityLevel' | 'enableCpuMemArena' | 'enableMemPattern'
>;

/** Of ONNX Runtime's log: what it would print of a refusal, the refusal itself says. */
const FATAL_ONLY = 4;

/** Session options that choose the device. The plan's allocator is that of the CPU. */
export function providersOf(device: Device): Providers {
  switch (device) {
    case 'cpu':
      return { executionProviders: ['cpu'] };
    case 'cuda':
      return {
        executionProviders: ['cuda', 'cpu'],
        logSeverityLevel: FATAL_ONLY,
        enableCpuMemArena: true,
        enableMemPattern: false,
      };
    case 'webgpu':
      return {
        // `simple` keeps buffers by their exact size: a step asks for the same sizes every time.
        executionProviders: [{ name: 'webgpu', storageBufferCacheMode: 'simple' }],
        logSeverityLevel: FATAL_ONLY,
        enableCpuMemArena: false,
        enableMemPattern: false,
      };
  }
}

/** Settings of a session's section `session`. */
export const sectionOf = (device: Device): Readonly<Record<string, string>> =>
  device === 'webgpu' ? { disable_cpu_ep_fallback: '1' } : {};

/** In place of that: operators may run on the CPU. */
export const FALLBACK_ALLOWED = { disable_cpu_ep_fallback: '0' } as const;

const NO_ADAPTER = /Failed to get a WebGPU adapter:?\s*([^\n]*)/;
const FALLBACK = /fallback to CPU EP has been explicitly disabled/;

/** Whether a session was refused because an operator would have run on the CPU. */
export const isFallback = (message: string): boolean => FALLBACK.test(message);

/** What a failed session means; undefined: it has nothing to do with the device. */
export function deviceError(device: Device, message: string): DiagnosticError | undefined {
  if (device === 'webgpu') {
    const [, detail = ''] = NO_ADAPTER.exec(message) ?? [undefined, undefined];
    if (NO_ADAPTER.test(message))
      return new DiagnosticError(
        'device/unavailable',
        '--device webgpu',
        `ONNX Runtime finds no WebGPU adapter${detail === '' ? '' : ` (${detail.trim()})`}`,
        WEBGPU_HINT,
      );
    if (/webgpu/i.test(message) && /not (found|supported|available|enabled)/i.test(message))
      return new DiagnosticError('device/unavailable', '--device webgpu', message);
  }
  if (device === 'cuda' && /cuda|cudnn|cublas|shared library|backend not found/i.test(message))
    return new DiagnosticError('device/unavailable', '--device cuda', message, CUDA_HINT);
  return undefined;
}

/** What it takes, per system. */
export const WEBGPU_HINT =
  process.platform === 'linux'
    ? "install the graphics card's Vulkan driver and the Vulkan loader (libvulkan1); revnetify doctor shows what was found"
    : "install the graphics card's driver; revnetify doctor shows what was found";

/** CUDA's libraries are too large for the registry: onnxruntime-node fetches them when it is told to. */
export const CUDA_HINT =
  process.platform === 'linux' && process.arch === 'x64'
    ? 'fetch them with: ONNXRUNTIME_NODE_INSTALL=cuda12 npm rebuild onnxruntime-node; they need an NVIDIA driver, CUDA 12 and cuDNN 9'
    : 'onnxruntime-node has CUDA on Linux x64 only; use --device webgpu';

/** @throws DiagnosticError device/target where the step has operators that only the CPU runs */
export function requireTarget({ assumptions, model }: Plan, device: Device): void {
  if (device === 'cpu' || assumptions.target === 'portable') return;
  throw new DiagnosticError(
    'device/target',
    model.train,
    `it was compiled for target ${assumptions.target}, which device ${device} does not run`,
  );
}
