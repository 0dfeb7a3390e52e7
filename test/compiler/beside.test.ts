// Baselines from another thread are those that are built here. Run as compiled: a thread cannot run TypeScript.

import { execFileSync } from 'node:child_process';
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { expect, test } from 'vitest';
import { preResNet } from '../../fixtures/models.js';
import { measureBaselines } from '../../src/compiler/baselines.js';
import { coupleNetwork } from '../../src/compiler/coupled.js';
import { readModel, writeModel } from '../../src/onnx/index.js';
import { compileRuntime } from '../runtime/compiled.js';

/** What a program says that reads the model and asks for its baselines from a thread. */
function ask(root: string, path: string, batch: number): unknown {
  const url = (file: string): string => JSON.stringify(pathToFileURL(join(root, file)).href);
  const program = `
    import { startBaselines } from ${url('src/compiler/beside.js')};
    import { readModel } from ${url('src/onnx/index.js')};
    const path = ${JSON.stringify(path)};
    const beside = startBaselines(readModel(path), { name: 'net', source: path, batch: ${batch} });
    console.log(JSON.stringify(beside ? ((await beside.result) ?? 'failed') : 'not started'));`;
  const file = join(root, 'ask.js');
  writeFileSync(file, program);
  return JSON.parse(execFileSync(process.execPath, [file], { encoding: 'utf8' })) as unknown;
}

test('another thread finds the same baselines, for a large network only', () => {
  const root = compileRuntime(['src', 'passes', 'runtime']);
  const [large, small] = [join(root, 'large.onnx'), join(root, 'small.onnx')];
  writeModel(preResNet({ depth: 302, width: 2, image: 16 }), large);
  writeModel(preResNet({ depth: 20, width: 2, image: 16 }), small);
  const options = { name: 'net', source: large, batch: 4 };
  const here = measureBaselines(coupleNetwork(readModel(large), options));
  expect(ask(root, large, 4)).toEqual(here);
  expect(ask(root, large, 8)).not.toEqual(here);
  expect(ask(root, small, 4)).toBe('not started');
  rmSync(root, { recursive: true });
});
