// What the Vulkan loader says about the devices it finds. In: what a process wrote to stderr with VK_LOADER_DEBUG set.
// Out: names of devices, and what stands in the way of WebGPU. Invariant: a log that is not understood gives no names and
// no reason, never wrong ones.

export interface VulkanLog {
  readonly devices: readonly string[];
  /** Undefined: nothing is known to be wrong. */
  readonly problem?: string;
}

const LOADER = 'Vulkan Loader Version';
/** In the line of each driver that is looked at. */
const DRIVER = 'ICD manifest file';
/** A line of the list of devices; newer loaders put their name before it. */
const DEVICE = /^(?:\[Vulkan Loader\] )?INFO[ |A-Z]*:\s+\[\d+\] (.*\S)/gm;
/** Dawn, on a device it does not take: what it would need. */
const REFUSAL = /^Warning: (.*required.*)$/m;

export function readVulkanLog(log: string): VulkanLog {
  if (!log.includes(LOADER))
    return { devices: [], problem: 'there is no Vulkan loader (libvulkan.so.1)' };
  const devices = [...new Set([...log.matchAll(DEVICE)].map(([, name = '']) => name))];
  if (devices.length === 0 && !log.includes(DRIVER))
    return { devices, problem: 'the Vulkan loader finds no driver' };
  const [, missing] = REFUSAL.exec(log) ?? [];
  return missing === undefined
    ? { devices }
    : { devices, problem: `the device is not enough for WebGPU: ${missing}` };
}
