// What is read off the log of the Vulkan loader: loaders of two ages, and logs that say nothing.

import { expect, test } from 'vitest';
import { readVulkanLog } from '../../../runtime/device/vulkan.js';

const NEW = `[Vulkan Loader] INFO:           Vulkan Loader Version 1.4.345
[Vulkan Loader] DRIVER:         Found ICD manifest file /a/icd.json, version 1.0.0
[Vulkan Loader] INFO | DRIVER:       Sorted order:
[Vulkan Loader] INFO | DRIVER:             [0] Some GPU (Subzero)
[Vulkan Loader] INFO | DRIVER:             [1] Another  \n`;

const OLD = `INFO:             Vulkan Loader Version 1.3.239
DRIVER:           Found ICD manifest file /usr/share/vulkan/icd.d/lvp_icd.x86_64.json, version "1.0.0"
INFO | DRIVER:       Sorted order:
INFO | DRIVER:               [0] llvmpipe (LLVM 15.0.6, 256 bits)
INFO | DRIVER:               [0] llvmpipe (LLVM 15.0.6, 256 bits)  \n`;

test('names of devices, each once', () => {
  expect(readVulkanLog(NEW)).toEqual({ devices: ['Some GPU (Subzero)', 'Another'] });
  expect(readVulkanLog(OLD)).toEqual({ devices: ['llvmpipe (LLVM 15.0.6, 256 bits)'] });
});

test('a device that is not enough for WebGPU', () => {
  const log = `${OLD}Warning: Vulkan shaderUniform*ArrayDynamicIndexing required.\n - While …\n`;
  expect(readVulkanLog(log).problem).toMatch(/not enough for WebGPU: Vulkan shaderUniform/);
});

test('no driver, no loader', () => {
  const [loader = ''] = OLD.split('\n');
  expect(readVulkanLog(loader)).toEqual({
    devices: [],
    problem: 'the Vulkan loader finds no driver',
  });
  expect(readVulkanLog('')).toEqual({
    devices: [],
    problem: 'there is no Vulkan loader (libvulkan.so.1)',
  });
});

test('a driver without a list of devices: nothing is claimed', () => {
  const log = OLD.split('\n').slice(0, 2).join('\n');
  expect(readVulkanLog(log)).toEqual({ devices: [] });
});
