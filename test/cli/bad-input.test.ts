// Bad input: each kind ends in one message (code, where, why, what to do), its exit code, and nothing written.

import {
  cpSync,
  existsSync,
  mkdirSync,
  readFileSync,
  readdirSync,
  rmSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import { onnx } from 'onnx-proto';
import { beforeAll, describe, expect, test } from 'vitest';
import { writeModel } from '../../src/onnx/index.js';
import { int } from '../../src/ir/index.js';
import { Net } from '../analysis/net.js';
import { HOOK_TIMEOUT, Program, fixture } from './program.js';

const program = new Program();
const resnet = fixture('resnet20.onnx');
const original = readFileSync(resnet);

interface Failure {
  readonly error: { readonly code: string; where: string; why: string; hint: string };
}

/** Runs a command that must fail; checks the message on both streams. */
async function failure(exit: number, code: string, ...args: string[]): Promise<Failure['error']> {
  const { code: got, stdout, stderr } = await program.run(...args, '--json');
  expect({ got, stderr }).toMatchObject({ got: exit });
  const { error } = JSON.parse(stdout) as Failure;
  expect(error).toMatchObject({ code });
  for (const part of [error.where, error.why, error.hint]) {
    expect(part).not.toBe('');
    expect(stderr).toContain(part);
  }
  expect(stderr).not.toMatch(/^ {4}at /m);
  return error;
}

/** A model file that compilation must refuse without leaving anything. */
async function refused(
  exit: number,
  code: string,
  bytes: Uint8Array | string,
  ...args: string[]
): Promise<Failure['error']> {
  const at = join(program.folder, 'case');
  rmSync(at, { recursive: true, force: true });
  mkdirSync(at);
  const path = join(at, 'model.onnx');
  writeFileSync(path, bytes);
  const error = await failure(exit, code, path, '-o', join(at, 'a/b'), '--batch', '2', ...args);
  expect(readdirSync(at)).toEqual(['model.onnx']);
  expect(readFileSync(path).equals(Buffer.from(bytes as Uint8Array))).toBe(true);
  return error;
}

const changed = (change: (model: onnx.ModelProto) => void): Uint8Array => {
  const model = onnx.ModelProto.decode(original);
  change(model);
  return onnx.ModelProto.encode(model).finish();
};

/** A small graph as the bytes of a file. */
function bytesOf(net: Net): Uint8Array {
  const path = join(program.folder, 'made.onnx');
  rmSync(path, { force: true });
  writeModel(net.model, path);
  return readFileSync(path);
}

function logits(net: Net, x: ReturnType<Net['input']>, channels = 4): Net {
  const pooled = net.flatten(net.op('GlobalAveragePool', [x]));
  net.model.graph.outputs.push(net.op('MatMul', [pooled, net.constant([channels, 3])]));
  return net;
}

describe('models that cannot be read', () => {
  test('no such file', async () => {
    await failure(2, 'model/not-found', join(program.folder, 'absent.onnx'));
    await failure(2, 'model/not-found', 'inspect', join(program.folder, 'absent.onnx'));
  });
  test('a folder instead of a file', () => failure(2, 'model/not-found', program.folder));
  test('text', () => refused(6, 'model/not-onnx', 'this is no model\n'));
  test('an empty file', () => refused(6, 'model/not-onnx', ''));
  test.each([0.02, 0.5, 0.99])('truncated to %d of its size', async (part) => {
    await refused(6, 'model/damaged', original.subarray(0, part * original.length));
  });
  test('no weights', async () => {
    const { where } = await refused(
      ...([6, 'model/missing-weights'] as const),
      changed(({ graph }) => {
        for (const tensor of graph?.initializer ?? [])
          if (tensor.name === 'stage2.1.conv1.weight') tensor.rawData = new Uint8Array();
      }),
      '--no-verify',
    );
    expect(where).toContain('stage2.1.conv1.weight');
  });
  test('a missing file of weights', async () => {
    const error = await refused(
      ...([6, 'model/external-data'] as const),
      changed(({ graph }) => {
        const tensor = graph?.initializer?.[0];
        if (!tensor) throw new Error('no initializer');
        tensor.rawData = new Uint8Array();
        tensor.dataLocation = onnx.TensorProto.DataLocation.EXTERNAL;
        tensor.externalData = [{ key: 'location', value: 'gone.data' }];
      }),
    );
    expect(error.why).toContain('gone.data');
  });
  test('an opset of the future', () =>
    refused(
      6,
      'model/opset',
      changed((model) => {
        model.opsetImport = [{ domain: '', version: 99 }];
      }),
    ));
});

describe('models that cannot be compiled', () => {
  test('no residual block', async () => {
    const net = new Net();
    const error = await refused(
      ...([3, 'couple/nothing'] as const),
      bytesOf(logits(net, net.conv(net.relu(net.conv(net.input()))))),
    );
    expect(error.why).toContain('no Add');
  });
  test('an unknown operator before the blocks is named', async () => {
    const net = new Net();
    const odd = net.op('Mystery', [net.input()]);
    const error = await refused(
      ...([3, 'couple/nothing'] as const),
      bytesOf(logits(net, net.block(net.block(odd)))),
    );
    expect(error.why).toContain('ai.onnx.Mystery (1 ×)');
  });
  test('an unknown operator behind the blocks', async () => {
    const net = new Net();
    const odd = net.op('Mystery', [net.block(net.block(net.conv(net.input())))]);
    const error = await refused(6, 'op/unsupported', bytesOf(logits(net, odd)));
    expect(error.where).toContain('Mystery');
  });
  test('no class logits', async () => {
    const net = new Net();
    const body = net.block(net.block(net.conv(net.input())));
    net.model.graph.outputs.push(net.op('ReduceMean', [body], { keepdims: int(0) }));
    await refused(6, 'model/no-logits', bytesOf(net));
  });
  test('open dimensions: the message says which option, and the option helps', async () => {
    const net = new Net();
    const bytes = bytesOf(
      logits(net, net.block(net.block(net.conv(net.input(['N', 4, 'H', 'W']))))),
    );
    const { hint } = await refused(6, 'shape/unknown', bytes);
    expect(hint).toContain('--input-shape input:1,4,…,…');
    const path = join(program.folder, 'open.onnx');
    writeFileSync(path, bytes);
    const args = [path, '-o', join(program.folder, 'open'), '--batch', '2', '--no-verify'];
    await program.json(...args, '--input-shape', 'input:1,4,8,8');
  });
  test('--input-shape that contradicts the model, or names no input', async () => {
    await refused(6, 'shape/mismatch', original, '--input-shape', 'input:1,3,8,8');
    const { why } = await refused(2, 'usage/option', original, '--input-shape', 'x:1,3,32,32');
    expect(why).toContain('input');
  });
});

describe('output', () => {
  test('files of others are not replaced without --force', async () => {
    const at = join(program.folder, 'taken');
    mkdirSync(at);
    writeFileSync(join(at, 'resnet20.rev.onnx'), 'mine');
    await failure(2, 'usage/output', resnet, '-o', at);
    expect(readFileSync(join(at, 'resnet20.rev.onnx'), 'utf8')).toBe('mine');
    await program.json(resnet, '-o', at, '--force', '--no-verify', '--batch', '2');
  });
  test('a result never takes the place of the model that is read', async () => {
    const at = join(program.folder, 'same');
    mkdirSync(at);
    const path = join(at, 'resnet20.rev.onnx');
    writeFileSync(path, original);
    await failure(2, 'usage/output', path, '-o', at, '--force');
    expect(readFileSync(path).equals(original)).toBe(true);
  });
  test('a file where the folder should be', async () => {
    await failure(2, 'usage/output', resnet, '-o', resnet);
    expect(readFileSync(resnet).equals(original)).toBe(true);
  });
});

describe('a folder that is not what it was', () => {
  let good: string;
  beforeAll(async () => {
    good = join(program.folder, 'good');
    await program.json(resnet, '-o', good, '--batch', '2', '--no-verify');
  }, HOOK_TIMEOUT);
  const copy = (): string => {
    const at = join(program.folder, 'changed');
    rmSync(at, { recursive: true, force: true });
    cpSync(good, at, { recursive: true });
    return at;
  };
  const half = (path: string): void => {
    writeFileSync(path, readFileSync(path).subarray(0, 1000));
  };
  const both = async (exit: number, code: string, at: string): Promise<void> => {
    await failure(exit, code, 'verify', at);
    await failure(exit, code, 'train', at, '--data', 'random', '--steps', '1', '--no-evaluate');
    expect(existsSync(join(at, 'resnet20.trained.onnx'))).toBe(false);
  };

  test('no folder, an empty folder', async () => {
    await both(2, 'train/invalid', join(program.folder, 'absent'));
    mkdirSync(join(program.folder, 'empty'));
    await both(2, 'train/invalid', join(program.folder, 'empty'));
  });
  test('a damaged plan', async () => {
    const at = copy();
    half(join(at, 'resnet20.plan.json'));
    await both(2, 'train/invalid', at);
    await failure(2, 'plan/invalid', 'inspect', join(at, 'resnet20.plan.json'));
    writeFileSync(join(at, 'resnet20.plan.json'), '{"schemaVersion":1}');
    await failure(2, 'plan/invalid', 'inspect', join(at, 'resnet20.plan.json'));
  });
  test('a damaged rev.onnx', async () => {
    const at = copy();
    half(join(at, 'resnet20.rev.onnx'));
    await both(6, 'model/damaged', at);
  });
  test('another model in place of rev.onnx', async () => {
    const at = copy();
    writeFileSync(join(at, 'resnet20.rev.onnx'), original);
    await both(2, 'train/invalid', at);
  });
  test('a damaged train.onnx', async () => {
    const at = copy();
    half(join(at, 'resnet20.train.onnx'));
    await failure(6, 'model/damaged', 'verify', at);
    await failure(2, 'train/invalid', 'train', at, '--data', 'random', '--no-evaluate');
  });
  test('a train.onnx of other settings', async () => {
    const at = copy();
    const other = join(program.folder, 'stored');
    await program.json(resnet, '-o', other, '--batch', '2', '--no-verify', '--policy', 'store');
    cpSync(join(other, 'resnet20.train.onnx'), join(at, 'resnet20.train.onnx'));
    await failure(2, 'train/invalid', 'verify', at);
  });
  test('data that is not there', async () => {
    await failure(2, 'data/invalid', 'train', good, '--data', join(program.folder, 'absent'));
    await failure(2, 'usage/option', 'train', good);
  });
});

describe('a training', () => {
  let good: string;
  beforeAll(async () => {
    good = join(program.folder, 'to-train');
    await program.json(resnet, '-o', good, '--batch', '2', '--no-verify');
  }, HOOK_TIMEOUT);
  const args = (...more: string[]): string[] => [
    ...['train', good, '--data', 'random', '--no-evaluate', '--checkpoint-every', '1', ...more],
  ];
  test('that diverges: 5, and where', async () => {
    const at = join(program.folder, 'diverged');
    const where = await failure(
      ...([5, 'train/diverged'] as const),
      ...args('--steps', '20', '--lr', '1e30', '--lr-schedule', 'constant'),
      ...['--checkpoint-dir', at],
    );
    expect(where.where).toMatch(/^step \d+/);
    expect(existsSync(join(good, 'resnet20.trained.onnx'))).toBe(false);
  });
  test('whose checkpoint is that of another one, or would be overwritten: 2', async () => {
    const at = join(program.folder, 'kept');
    const rest = ['--checkpoint-dir', at, '--steps'];
    expect((await program.run(...args(...rest, '1'))).code).toBe(0);
    rmSync(join(good, 'resnet20.trained.onnx'));
    await failure(2, 'checkpoint/exists', ...args(...rest, '1'));
    const error = await failure(2, 'checkpoint/other', ...args(...rest, '2'), '--resume');
    expect(error.why).toBe('steps was 1, now 2');
    truncateSync(join(at, 'resnet20.step-1.safetensors'), 1000);
    await failure(2, 'checkpoint/damaged', ...args(...rest, '1'), '--resume');
  });
  test('with settings of another optimizer: 2', async () => {
    const error = await failure(2, 'usage/option', ...args('--beta1', '0.5', '--steps', '1'));
    expect(error.why).toMatch(/compiled for sgd/);
  });
});

describe('usage', () => {
  test('no arguments: help, and 2', async () => {
    const { code, stdout, stderr } = await program.run();
    expect({ code, stdout }).toEqual({ code: 2, stdout: '' });
    expect(stderr).toMatch(/^Usage: revnetify/);
  });
  test('--help and --version: 0', async () => {
    expect(await program.run('--help')).toMatchObject({ code: 0, stderr: '' });
    expect(await program.run('train', '--help')).toMatchObject({ code: 0, stderr: '' });
    const { version } = JSON.parse(
      readFileSync(new URL('../../package.json', import.meta.url), 'utf8'),
    ) as { version: string };
    expect(await program.run('--version')).toMatchObject({ code: 0, stdout: `${version}\n` });
  });
  test('what commander refuses', async () => {
    for (const args of [['--bogus'], ['verify'], ['verfy', 'dir'], ['x.onnx', '--batch']]) {
      const { code, stdout, stderr } = await program.run(...args);
      expect({ args, code, stdout }).toEqual({ args, code: 2, stdout: '' });
      expect(stderr).toMatch(/^error: /);
    }
    const { stdout } = await program.run('verify', '--json');
    expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'usage/command' } });
  });
  test.each([
    ['--recipe', 'papers'],
    ['--partition', 'thirds'],
    ['--match', 'memory'],
    ['--transitions', 'none'],
    ['--batch-norm', 'drop'],
  ])('%s %s: the message lists what there is', async (option, value) => {
    const error = await failure(2, 'usage/option', resnet, option, value);
    expect(error.where).toBe(option);
    expect(error.why).toMatch(/paper|widen|params|coupled|restore/);
  });
  test('choices that contradict each other', async () => {
    const args = ['--partition', 'split', '--head', 'average'];
    const error = await failure(2, 'usage/option', resnet, ...args);
    expect(error.hint).toContain('--partition widen');
  });
  test('an option with a value that cannot be used', async () => {
    const error = await failure(2, 'usage/option', resnet, '--batch', '0');
    expect(error.where).toBe('--batch');
  });
  test('options of the main command before another one', async () => {
    await failure(2, 'usage/option', '--batch', '4', 'verify', program.folder);
  });
});
