// The kinds of files a model may come in, from the first command to the trained model.

import { existsSync, mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { createSession, loadRuntime } from '../../runtime/session.js';
import { InlineData, Tensor } from '../../src/ir/index.js';
import type { Model } from '../../src/ir/index.js';
import { readModel, writeModel } from '../../src/onnx/index.js';
import { preResNet } from '../../fixtures/models.js';
import { Program } from './program.js';

const program = new Program();

/** Milliseconds: seconds on a machine with nothing else to do. */
const TIMEOUT = 300_000;

interface Compiled {
  readonly verify: { readonly passed: boolean } | null;
  readonly notes: readonly string[];
}

/** Two blocks in each of three stages; images of 8 by 8. */
const tiny = (): Model => preResNet({ depth: 14, width: 4, image: 8, norm: 'random' });

/** A folder of this test. */
function place(name: string): string {
  const dir = join(program.folder, name);
  mkdirSync(dir);
  return dir;
}

test(
  'weights in a data file: verified, trained, and in a data file again',
  async () => {
    const dir = place('external');
    const path = join(dir, 'm.onnx');
    writeModel(tiny(), path, { external: 'always' });
    const out = join(dir, 'out');
    await program.json(path, '-o', out, '--batch', '4', '--no-verify');
    // The step is made again from rev.onnx and compared: what its weights lie in must not matter.
    expect(await program.json('verify', out, '--batch', '2')).toMatchObject({ passed: true });
    await program.json('train', out, '--data', 'random', '--steps', '1');
    const sizes = ['rev', 'train', 'trained'].map((kind) => {
      const data = join(out, `m.${kind}.onnx.data`);
      return existsSync(data) ? statSync(data).size : 0;
    });
    expect(sizes[0]).toBeGreaterThan(5e3);
    expect(sizes[1]).toBe(0);
    expect(sizes[2]).toBe(sizes[0]);
    // An inline model in the same place takes the old data file away.
    const inline = join(place('inline'), 'm.onnx');
    writeModel(tiny(), inline);
    await program.json(inline, '-o', out, '--batch', '4', '--no-verify');
    expect(existsSync(join(out, 'm.rev.onnx.data'))).toBe(false);
  },
  TIMEOUT,
);

test(
  'float16 and open extents: converted, verified, trained, and open again',
  async () => {
    const dir = place('half');
    const path = join(dir, 'm.onnx');
    const model = tiny();
    const { graph } = model;
    for (const weight of graph.constants) {
      const { dims, data } = weight.constant?.load() ?? Tensor.scalar(0);
      weight.constant = new InlineData(new Tensor('float16', dims, data));
      weight.type = { dtype: 'float16', shape: dims };
    }
    for (const node of graph.nodes)
      for (const value of node.outputs) if (value) value.type = undefined;
    for (const [value, shape] of [
      [graph.inputs[0], ['N', 3, 'H', 'W']],
      [graph.outputs[0], ['N', 10]],
    ] as const)
      if (value) value.type = { dtype: 'float16', shape };
    writeModel(model, path);

    const out = join(dir, 'out');
    const unbound = await program.run(path, '-o', out);
    expect({ code: unbound.code, stderr: unbound.stderr }).toEqual({
      code: 6,
      stderr: expect.stringMatching(
        /^error shape\/unknown[^]*--input-shape input:1,3,…,…/m,
      ) as string,
    });
    const shape = ['--batch', '4', '--input-shape', 'input:1,3,12,8'];
    const compiled = (await program.json(path, '-o', out, ...shape)) as Compiled;
    expect(compiled.verify?.passed).toBe(true);
    expect(compiled.notes).toContainEqual(expect.stringContaining('the model is in float16'));
    await program.json('train', out, '--data', 'random', '--steps', '1');

    for (const kind of ['rev', 'trained']) {
      const made = join(out, `m.${kind}.onnx`);
      const [images] = readModel(made).graph.inputs;
      expect(images?.type).toEqual({ dtype: 'float32', shape: ['N', 3, 'H', 'W'] });
      const session = await createSession(made);
      const { Tensor: Feed } = await loadRuntime();
      for (const dims of [
        [2, 3, 12, 8],
        [1, 3, 8, 16],
      ]) {
        const data = new Float32Array(dims.reduce((n, d) => n * d));
        const results = await session.run({ input: new Feed('float32', data, dims) });
        expect(Object.values(results)[0]?.dims).toEqual([dims[0], 10]);
      }
      await session.release();
    }
  },
  TIMEOUT,
);
