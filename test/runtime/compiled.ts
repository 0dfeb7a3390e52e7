// The runtime as JavaScript, for tests that start a process: Node 20 does not run TypeScript. In: the sources. Out:
// the same files, types stripped, below .cache/. Invariant: made anew for every test run, so that a test never
// looks at yesterday's program.

import { createHash } from 'node:crypto';
import {
  copyFileSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  readFileSync,
  readdirSync,
  writeFileSync,
} from 'node:fs';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import ts from 'typescript';
import { atomicWrite } from '../../src/onnx/index.js';

const root = fileURLToPath(new URL('../..', import.meta.url));

const RUNTIME = ['src/diagnostics', 'src/ir', 'src/onnx', 'src/plan', 'runtime'];

/**
 * @param folders what to compile; default: what the runtime needs
 * @returns the folder that stands for the root of the package
 */
export function compileRuntime(folders: readonly string[] = RUNTIME): string {
  const cache = join(root, '.cache');
  mkdirSync(join(cache, 'transpiled'), { recursive: true });
  const out = mkdtempSync(join(cache, 'runtime-'));
  // Modules in this folder find the package by its name, as its exports say; dist/ is this folder.
  const about = readFileSync(join(root, 'package.json'), 'utf8').replaceAll('./dist/', './');
  writeFileSync(join(out, 'package.json'), about);
  for (const folder of folders)
    for (const name of readdirSync(join(root, folder), { recursive: true, encoding: 'utf8' })) {
      const to = join(out, folder, name.replace(/ts$/, 'js'));
      if (/\.(ts|json|py)$/.test(name)) mkdirSync(dirname(to), { recursive: true });
      if (/\.(json|py)$/.test(name)) copyFileSync(join(root, folder, name), to);
      if (!name.endsWith('.ts')) continue;
      writeFileSync(to, transpiled(readFileSync(join(root, folder, name), 'utf8'), cache));
    }
  return out;
}

/** Kept by content: most sources are the same from one run to the next. */
function transpiled(source: string, cache: string): string {
  const key = createHash('sha256').update(ts.version).update(source).digest('hex');
  const path = join(cache, 'transpiled', `${key}.js`);
  if (existsSync(path)) return readFileSync(path, 'utf8');
  const { outputText } = ts.transpileModule(source, {
    compilerOptions: { target: ts.ScriptTarget.ES2023, module: ts.ModuleKind.ESNext },
  });
  atomicWrite(path, outputText);
  return outputText;
}
