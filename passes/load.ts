// Passes of users. In: the path of a module. Out: the passes it exports. Invariant: what is wrong with a module is said
// with its path and what to change in it.

import { existsSync } from 'node:fs';
import { resolve } from 'node:path';
import { pathToFileURL } from 'node:url';
import { DiagnosticError } from '../src/diagnostics/index.js';
import { isPass } from '../src/rewrite/index.js';
import type { Pass } from '../src/rewrite/index.js';
import { couplePipeline, importPipeline, standardPipeline, stepPipeline } from './catalogue.js';
import type { CompileState } from './state.js';

/**
 * Imports a module and takes the passes among its exports.
 * @param path of a JavaScript module, from the current folder on
 * @throws DiagnosticError pass/invalid
 */
export async function loadPasses(path: string): Promise<Pass<CompileState>[]> {
  const full = resolve(path);
  const bad = (why: string, hint?: string): DiagnosticError =>
    new DiagnosticError('pass/invalid', path, why, hint);
  if (!existsSync(full)) throw bad('there is no such file', 'check the path of --pass');
  const exports = await importModule(full, bad);
  const passes: Pass<CompileState>[] = [];
  for (const [key, value] of Object.entries(exports)) {
    if (isPass(value)) passes.push(value);
    else if (looksLikePass(value)) throw bad(...strangePass(key, value));
  }
  if (passes.length === 0) throw bad(...nothingIn(exports));
  checkNames(passes, bad);
  return passes;
}

type Bad = (why: string, hint?: string) => DiagnosticError;

async function importModule(path: string, bad: Bad): Promise<Readonly<Record<string, unknown>>> {
  try {
    return (await import(pathToFileURL(path).href)) as Readonly<Record<string, unknown>>;
  } catch (error) {
    if (error instanceof DiagnosticError) throw bad(`${error.where}: ${error.why}`);
    if (!(error instanceof Error)) throw bad(`it threw ${String(error)}`);
    const place = /file:\/\/\S*?([^/\s]+:\d+(?::\d+)?)/.exec(error.stack ?? '')?.[1];
    const code = (error as NodeJS.ErrnoException).code;
    const missing = /'(revnetify[^']*)'/.exec(error.message)?.[1];
    if (code === 'ERR_MODULE_NOT_FOUND' && missing !== undefined)
      throw bad(
        `it imports '${missing}', which is not installed where the module lies`,
        'run npm install revnetify in the folder of the module, or keep the module inside that project',
      );
    throw bad(
      `it cannot be loaded: ${error.name}: ${error.message}${place === undefined ? '' : `, at ${place}`}`,
      'correct the module; node FILE shows the same error',
    );
  }
}

const looksLikePass = (value: unknown): boolean =>
  typeof value === 'object' &&
  value !== null &&
  ('run' in value || ('match' in value && 'replace' in value));

function strangePass(key: string, value: unknown): [why: string, hint: string] {
  if (typeof value === 'object' && value !== null && 'builtIn' in value)
    return [
      `its export ${key} was made by another copy of revnetify than the one that runs`,
      'run the revnetify that is installed where the module lies: npx revnetify in that folder',
    ];
  const maker =
    typeof value === 'object' && value !== null && 'match' in value
      ? 'defineRewrite'
      : 'definePass';
  return [
    `its export ${key} is a plain object`,
    `write ${key === 'default' ? 'export default' : `export const ${key} =`} ${maker}({ … }), with ${maker} from 'revnetify/passes'`,
  ];
}

function nothingIn(exports: Readonly<Record<string, unknown>>): [why: string, hint: string] {
  const found = Object.entries(exports).map(([key, value]) => `${key} (${typeof value})`);
  const why =
    found.length === 0 ? 'it exports nothing' : `it exports no pass, only ${found.join(', ')}`;
  return [why, 'write export default definePass({ … }) or export default defineRewrite({ … })'];
}

/** A name stands for one pass. */
function checkNames(passes: readonly Pass<CompileState>[], bad: Bad): void {
  const names = new Set(
    [...importPipeline, ...couplePipeline, ...standardPipeline, ...stepPipeline].map((p) => p.name),
  );
  for (const { name } of passes) {
    if (names.has(name))
      throw bad(`there is another pass called "${name}"`, 'give the pass a name of its own');
    names.add(name);
  }
}
