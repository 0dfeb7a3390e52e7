// The runtime as JavaScript, for tests that start a process: Node 20 does not run TypeScript. In: the sources. Out:
// the same files, types stripped, below .cache/. Invariant: made anew for every test run, so that a test never
// looks at yesterday's program.

import { mkdirSync, mkdtempSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';

const root = fileURLToPath(new URL('../..', import.meta.url));

/** @returns the folder that stands for the root of the package */
export function compileRuntime(): string {
  const cache = join(root, '.cache');
  mkdirSync(cache, { recursive: true });
  const out = mkdtempSync(join(cache, 'runtime-'));
  for (const folder of ['src/diagnostics', 'src/ir', 'src/onnx', 'src/plan', 'runtime'])
    for (const name of readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })) {
      if (!name.endsWith('.ts')) continue;
      const to = join(out, folder, name.replace(/ts$/, 'js'));
      mkdirSync(dirname(to), { recursive: true });
      const { outputText } = ts.transpileModule(readFileSync(join(root, folder, name), 'utf8'), {
        compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext },
      });
      writeFileSync(to, outputText);
    }
  return out;
}
