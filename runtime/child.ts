// Programs of the runtime that run in a process of their own.

import { existsSync } from 'node:fs';
import { fileURLToPath } from 'node:url';

/**
 * The path of such a program. Node 20 does not run TypeScript, so from sources (under a test runner) the compiled
 * program in dist/ is used: build first.
 * @param name of the module in this folder: `measure-child`
 */
export function childProgram(name: string): string {
  const compiled = import.meta.url.endsWith('.js');
  const url = compiled ? `./${name}.js` : `../dist/runtime/${name}.js`;
  const path = fileURLToPath(new URL(url, import.meta.url));
  if (!existsSync(path)) throw new Error(`${path} is missing: run npm run build`);
  return path;
}
