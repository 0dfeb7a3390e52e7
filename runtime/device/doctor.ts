// Which devices work on this machine, why others do not, and how to get them. In: nothing. Out: a report. Invariant: a
// device works if a process of its own has computed something on it, whatever files lie about; nothing here can crash
// the caller.

import { execFileSync, fork } from 'node:child_process';
import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { availableParallelism, cpus, totalmem } from 'node:os';
import { dirname, join } from 'node:path';
import type { BlockSize } from '../../src/ir/index.js';
import { childProgram } from '../child.js';
import type { ProbeAnswer } from './probe-child.js';
import { CUDA_HINT, DEVICES, WEBGPU_HINT } from './provider.js';
import type { Device } from './provider.js';
import { readVulkanLog } from './vulkan.js';

export interface DeviceReport {
  readonly device: Device;
  readonly works: boolean;
  /** What stands behind it, where that can be found out. */
  readonly name?: string;
  /** Why it does not work, and how to get it. */
  readonly why?: string;
  readonly get?: string;
}

export interface DoctorReport {
  readonly system: string;
  readonly node: string;
  /** Of onnxruntime-node; null: it cannot be loaded. */
  readonly onnxruntime: string | null;
  readonly processor: {
    readonly name: string;
    readonly threads: number;
    /** Channels in a block of its kernels in blocked layout (`--target cpu-blocked`); null: it has none. */
    readonly block: BlockSize | null;
  };
  readonly memoryBytes: number;
  readonly devices: readonly DeviceReport[];
}

/** Looks at this machine; takes a few seconds. */
export async function examine(): Promise<DoctorReport> {
  const probes = new Map<Device, Probed>();
  for (const device of DEVICES) probes.set(device, await tryDevice(device));
  return {
    system: `${process.platform} ${process.arch}`,
    node: process.versions.node,
    onnxruntime: probes.get('cpu')?.answer?.version ?? null,
    processor: {
      name: cpus()[0]?.model.trim() ?? process.arch,
      threads: availableParallelism(),
      block: probes.get('cpu')?.answer?.block ?? null,
    },
    memoryBytes: totalmem(),
    devices: [...probes].map(([device, probed]) => describe(device, probed)),
  };
}

interface Probed {
  readonly answer: ProbeAnswer | undefined;
  /** How the process ended, where it has not answered. */
  readonly end: string;
  readonly log: string;
}

/** A device that does not answer in this time hangs. */
const PATIENCE = 60_000;

function tryDevice(device: Device): Promise<Probed> {
  return new Promise((resolve) => {
    const child = fork(childProgram('device/probe-child'), [device], {
      execArgv: [],
      stdio: ['ignore', 'ignore', 'pipe', 'ipc'],
      // The Vulkan loader then names the devices it finds, which ONNX Runtime does not.
      env:
        device === 'webgpu'
          ? { ...process.env, VK_LOADER_DEBUG: 'error,info,driver' }
          : process.env,
      timeout: PATIENCE,
      killSignal: 'SIGKILL',
    });
    let answer: ProbeAnswer | undefined;
    let log = '';
    child.stderr?.on('data', (data: Buffer) => (log += data.toString()));
    child.once('message', (message) => (answer = message as ProbeAnswer));
    child.once('error', (error) => {
      resolve({ answer, end: error.message, log });
    });
    child.once('close', (code, signal) => {
      const end =
        signal === null
          ? `the process that tried it ended with status ${code ?? 0}`
          : `the process that tried it was ended by ${signal}`;
      resolve({ answer, end, log });
    });
  });
}

function describe(device: Device, { answer, end, log }: Probed): DeviceReport {
  const works = answer !== undefined && answer.why === undefined;
  const name = nameOf(device, log);
  const named = { device, works, ...(name === undefined ? {} : { name }) };
  if (works) return named;
  if (answer !== undefined && answer.version === undefined)
    return { ...named, why: answer.why ?? end, get: 'npm install onnxruntime-node' };
  const known = answer === undefined || answer.known.includes(device);
  const why = known
    ? (reasonOf(device, answer, log) ?? answer?.why ?? end)
    : `onnxruntime-node has no such provider for ${process.platform} ${process.arch}`;
  const get = device === 'webgpu' ? WEBGPU_HINT : device === 'cuda' ? CUDA_HINT : undefined;
  return { ...named, why, ...(get === undefined ? {} : { get }) };
}

function nameOf(device: Device, log: string): string | undefined {
  if (device === 'webgpu') return readVulkanLog(log).devices.join(', ') || undefined;
  return device === 'cuda' ? nvidiaCards() : cpus()[0]?.model.trim();
}

/** What is missing, more exactly than ONNX Runtime says it. */
function reasonOf(
  device: Device,
  answer: ProbeAnswer | undefined,
  log: string,
): string | undefined {
  if (device === 'webgpu' && process.platform === 'linux')
    return answer?.why?.includes('adapter') ? readVulkanLog(log).problem : undefined;
  if (device !== 'cuda') return undefined;
  const reasons = [
    nvidiaCards() === undefined ? 'there is no NVIDIA driver (nvidia-smi does not run)' : [],
    hasCudaLibrary() ? [] : "onnxruntime-node's CUDA libraries are not installed",
  ].flat();
  return reasons.length > 0 ? reasons.join('; ') : undefined;
}

function nvidiaCards(): string | undefined {
  try {
    const text = execFileSync('nvidia-smi', ['--query-gpu=name', '--format=csv,noheader'], {
      encoding: 'utf8',
      stdio: ['ignore', 'pipe', 'ignore'],
      timeout: PATIENCE,
    });
    return text.trim().split('\n').join(', ') || undefined;
  } catch {
    return undefined;
  }
}

function hasCudaLibrary(): boolean {
  try {
    const main = createRequire(import.meta.url).resolve('onnxruntime-node/package.json');
    const folder = join(dirname(main), 'bin', 'napi-v6', process.platform, process.arch);
    return existsSync(join(folder, 'libonnxruntime_providers_cuda.so'));
  } catch {
    return false;
  }
}
