// Exit codes that no wrong use leads to: a failed verification, a missing runtime, an error of our own.

import { readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { onnx } from 'onnx-proto';
import { beforeAll, expect, test } from 'vitest';
import { HOOK_TIMEOUT, Program, fixture } from './program.js';

const program = new Program();
const resnet = fixture('resnet20.onnx');
let dir: string;
beforeAll(async () => {
  dir = join(program.folder, 'good');
  await program.json(resnet, '-o', dir, '--batch', '2', '--no-verify');
}, HOOK_TIMEOUT);

/** The model with one weight that is not a number: no two computations of it agree. */
function poisoned(path: string): Uint8Array {
  const model = onnx.ModelProto.decode(readFileSync(path));
  const weight = model.graph?.initializer?.find((t) => t.name === 'stage2.1.conv1.weight');
  if (!weight?.rawData) throw new Error('no such weight');
  weight.rawData = Uint8Array.from(weight.rawData);
  new DataView(weight.rawData.buffer).setFloat32(0, NaN, true);
  return onnx.ModelProto.encode(model).finish();
}

test('4: a verification that fails, and nothing is written', async () => {
  const path = join(program.folder, 'poisoned.onnx');
  writeFileSync(path, poisoned(resnet));
  const at = join(program.folder, 'poisoned');
  const { code, stdout } = await program.run(path, '-o', at, '--batch', '2', '--json');
  expect(code).toBe(4);
  expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'verify/failed' } });
  expect(() => readdirSync(at)).toThrow();
  const forced = await program.run(path, '-o', at, '--batch', '2', '--json', '--force');
  expect(forced.code).toBe(4);
  expect(JSON.parse(forced.stdout)).toMatchObject({ verify: { passed: false } });
  expect(readdirSync(at)).toHaveLength(3);
  expect(await program.run('verify', at, '--json')).toMatchObject({ code: 4 });
});

/** Runs a command with a module put before it. */
const withModule = (text: string, ...args: string[]): ReturnType<typeof program.run> => {
  const path = join(program.folder, 'before.mjs');
  writeFileSync(path, text);
  return program.run(...args, { NODE_OPTIONS: `--import=file://${path}` });
};

const NO_RUNTIME = `
import { register } from 'node:module';
register('data:text/javascript,' + encodeURIComponent(\`
export function resolve(specifier, context, next) {
  if (specifier === 'onnxruntime-node') throw new Error("Cannot find package 'onnxruntime-node'");
  return next(specifier, context);
}\`));
`;

test('7: onnxruntime-node is not there; what does not need it works', async () => {
  const { code, stderr } = await withModule(NO_RUNTIME, 'verify', dir);
  expect(code).toBe(7);
  expect(stderr).toMatch(/^error runtime\/missing: .*\n {2}where: onnxruntime-node\n/);
  expect(stderr).toMatch(/do: {4}run npm install/);
  const { code: trained } = await withModule(NO_RUNTIME, 'train', dir, '--measure');
  expect(trained).toBe(7);
  expect(await withModule(NO_RUNTIME, 'inspect', dir)).toMatchObject({ code: 0, stderr: '' });
});

test('1: an error of our own asks for a report and shows where it was', async () => {
  const broken = "Number.prototype.toFixed = () => { throw new Error('the sky fell'); };";
  const { code, stdout, stderr } = await withModule(broken, 'inspect', dir);
  expect({ code, stdout }).toEqual({ code: 1, stdout: '' });
  expect(stderr).toMatch(/^internal error: please report this/);
  expect(stderr).toMatch(/^ {4}at .*inspect-plan\.js:/m);
  expect(stderr).toContain('the sky fell');
});
