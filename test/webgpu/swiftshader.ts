// A GPU made of software, for tests on any machine: SwiftShader, a Vulkan device on the CPU, and the Vulkan loader, as
// the npm package @sparticuz/chromium holds them. In: nothing. Out: what the environment of a process must hold when it
// starts. Invariant: nothing of the machine's own graphics is used, so every machine tests the same device.

import { createReadStream, existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from 'node:fs';
import { createRequire } from 'node:module';
import { dirname, join } from 'node:path';
import { pipeline } from 'node:stream/promises';
import { fileURLToPath } from 'node:url';
import { createBrotliDecompress } from 'node:zlib';
import { extract } from 'tar-fs';

const cache = fileURLToPath(new URL('../../.cache', import.meta.url));
const DRIVER = 'vk_swiftshader_icd.json';

/** Unpacks the driver where that has not been done; throws where the package does not hold it. */
export async function swiftShader(): Promise<NodeJS.ProcessEnv> {
  const folder = join(cache, 'swiftshader');
  if (!existsSync(join(folder, DRIVER))) {
    const main = createRequire(import.meta.url).resolve('@sparticuz/chromium');
    const archive = join(dirname(main), '../../bin/swiftshader.tar.br');
    mkdirSync(cache, { recursive: true });
    // Whole or not at all: another test may be looking for it.
    const unpacked = mkdtempSync(join(cache, 'unpack-'));
    await pipeline(createReadStream(archive), createBrotliDecompress(), extract(unpacked));
    rmSync(folder, { recursive: true, force: true });
    renameSync(unpacked, folder);
  }
  const driver = join(folder, DRIVER);
  if (!existsSync(driver)) throw new Error(`${driver} is missing`);
  return { VK_ICD_FILENAMES: driver, VK_DRIVER_FILES: driver, LD_LIBRARY_PATH: folder };
}
