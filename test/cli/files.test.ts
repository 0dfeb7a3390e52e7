// The kinds of files a model may come in, from the first command to the trained model.

import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import type { Model } from '../../src/ir/index.js';
import { writeModel } from '../../src/onnx/index.js';
import { preResNet } from '../../fixtures/models.js';
import { Program } from './program.js';

const program = new Program();

interface Compiled {
  readonly verify: { readonly passed: boolean } | null;
  readonly notes: readonly string[];
}

/** Two blocks in each of three stages; images of 8 by 8. */
const tiny = (): Model => preResNet({ depth: 14, width: 8, image: 8, norm: 'random' });

/** A folder of this test. */
function place(name: string): string {
  const dir = join(program.folder, name);
  mkdirSync(dir);
  return dir;
}

test('weights in a data file: verified, trained, and in a data file again', async () => {
  const dir = place('external');
  const path = join(dir, 'm.onnx');
  writeModel(tiny(), path, { external: 'always' });
  const out = join(dir, 'out');
  const compiled = (await program.json(path, '-o', out, '--batch', '4')) as Compiled;
  expect(compiled.verify?.passed).toBe(true);
  // The step is made again from rev.onnx and compared: what its weights lie in must not matter.
  expect(await program.json('verify', out, '--batch', '2')).toMatchObject({ passed: true });
  await program.json('train', out, '--data', 'random', '--steps', '1');
  const sizes = ['rev', 'train', 'trained'].map((kind) => {
    const data = join(out, `m.${kind}.onnx.data`);
    return existsSync(data) ? statSync(data).size : 0;
  });
  expect(sizes[0]).toBeGreaterThan(1e4);
  expect(sizes[1]).toBe(0);
  expect(sizes[2]).toBe(sizes[0]);
  // An inline model in the same place takes the old data file away.
  const inline = join(place('inline'), 'm.onnx');
  writeModel(tiny(), inline);
  await program.json(inline, '-o', out, '--batch', '4', '--no-verify');
  expect(existsSync(join(out, 'm.rev.onnx.data'))).toBe(false);
}, 120_000);
