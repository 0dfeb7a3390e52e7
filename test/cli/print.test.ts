// revnetify print: what it prints is the model, and reads back as it.

import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { fixtures } from '../../fixtures/build.js';
import { parse } from '../../src/ir/parse.js';
import { print } from '../../src/ir/print.js';
import { readModel, writeModel } from '../../src/onnx/index.js';
import type { Graph } from '../../src/ir/index.js';
import { Program, fixture } from './program.js';

const program = new Program();
/** Structure and every weight. */
const content = (graph: Graph): unknown => ({
  inputs: graph.inputs.map((v) => [v.name, v.type]),
  outputs: graph.outputs.map((v) => v.name),
  constants: [...graph.constants].map((v) => [v.name, v.type, v.constant?.load().toArray()]),
  nodes: [...graph.nodes].map((n) => [
    n.name,
    n.op,
    n.domain,
    n.inputs.map((v) => v?.name),
    n.outputs.map((v) => v?.name),
    [...n.attributes.entries()],
  ]),
});

describe.each(Object.keys(fixtures))('%s', (name) => {
  test('with its weights it reads back as the same model', async () => {
    const path = fixture(name);
    const file = join(program.folder, `${name}.txt`);
    const { code, stdout } = await program.run('print', path, '--weights', '-o', file);
    expect([code, stdout]).toEqual([0, '']);
    const text = readFileSync(file, 'utf8');
    const back = parse(text);
    expect(content(back.graph)).toEqual(content(readModel(path).graph));
    expect(print(back)).toBe(text);
  });
  test('without, it is short and shows every node', async () => {
    const path = fixture(name);
    const { stdout } = await program.run('print', path);
    expect(stdout.length).toBeLessThan(200_000);
    for (const node of readModel(path).graph.nodes) expect(stdout).toContain(node.op);
    expect(print(parse(stdout), { elide: true })).toBe(stdout);
  });
});

test('never writes over the model', async () => {
  const path = join(program.folder, 'model.onnx');
  writeModel(readModel(fixture('resnet20.onnx')), path);
  const before = readFileSync(path);
  const { code } = await program.run('print', path, '-o', path);
  expect(code).toBe(2);
  expect(readFileSync(path).equals(before)).toBe(true);
  expect(existsSync(path)).toBe(true);
});
