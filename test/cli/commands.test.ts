// Each command with good input: what it prints, in which form, and what it writes.

import { createHash } from 'node:crypto';
import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { cpSync, existsSync, readFileSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { beforeAll, describe, expect, test } from 'vitest';
import { needsMallocEnvironment, readPlan } from '../../runtime/index.js';
import { writeModel } from '../../src/onnx/index.js';
import { Net } from '../analysis/net.js';
import { HOOK_TIMEOUT, Program, finished, fixture, shapeOf } from './program.js';

const program = new Program();
const resnet = fixture('resnet20.onnx');
const digest = (path: string): string =>
  createHash('sha256').update(readFileSync(path)).digest('hex');

let before: string;
let dir: string;
let compiled: unknown;
beforeAll(async () => {
  before = digest(resnet);
  dir = join(program.folder, 'out');
  compiled = await program.json(resnet, '-o', dir, '--batch', '2');
}, HOOK_TIMEOUT);

const MEMORY = { peakBytes: 'number', activationBytes: 'number' };
const MAX = { maxAbs: 'number', maxRel: 'number' };
const GRADIENT = {
  relL2: 'number',
  angleDegrees: 'number',
  medianTensor: 'number',
  maxTensor: 'number',
  worstTensor: 'string',
};
const VERIFY = {
  batch: 'number',
  forward: MAX,
  reconstruction: { ...MAX, streams: 'number' },
  gradient: GRADIENT,
  noise: GRADIENT,
  float64: 'null',
  failures: [],
  passed: 'boolean',
};

describe('compile', () => {
  test('prints one JSON object of the documented form', () => {
    expect(shapeOf(compiled)).toEqual({
      schemaVersion: 'number',
      model: 'string',
      outputs: { rev: 'string', train: 'string', plan: 'string' },
      blocks: {
        residual: 'number',
        identity: 'number',
        projection: 'number',
        coupled: 'number',
        reversible: 'number',
        left: 'number',
      },
      recipe: {
        name: 'string',
        partition: 'string',
        match: 'string',
        stem: 'string',
        transitions: 'string',
        head: 'string',
        batchNorm: 'string',
        dropout: 'string',
      },
      parameters: { before: 'number', after: 'number' },
      depth: { before: 'number', after: 'number' },
      memory: { before: MEMORY, after: MEMORY, savedRatio: 'number' },
      cost: {
        forwardFlops: 'number',
        stepFlopsBefore: 'number',
        stepFlopsAfter: 'number',
        ratio: 'number',
      },
      verify: VERIFY,
      notes: [],
    });
    expect(compiled).toMatchObject({
      model: resnet,
      blocks: { residual: 9, identity: 7, projection: 2, coupled: 9, left: 0 },
      parameters: { before: 272282, after: 276138 },
      verify: { batch: 2, passed: true },
    });
  });

  test('writes three files and nothing else, and leaves the model as it was', () => {
    const { outputs } = compiled as { outputs: Record<string, string> };
    expect(readdirSync(dir).sort()).toEqual([
      'resnet20.plan.json',
      'resnet20.rev.onnx',
      'resnet20.train.onnx',
    ]);
    for (const path of Object.values(outputs)) expect(existsSync(path)).toBe(true);
    expect(digest(resnet)).toBe(before);
  });

  test('makes the same files again, replacing its own', async () => {
    const files = readdirSync(dir).map((name) => join(dir, name));
    const first = files.map(digest);
    const again = await program.json(resnet, '-o', dir, '--batch', '2', '--no-verify');
    expect(again).toMatchObject({ verify: null });
    expect(files.map(digest)).toEqual(first);
  });

  test('prints a readable result on stdout, remarks on stderr, and with --quiet no remarks', async () => {
    const other = join(program.folder, 'other');
    const loud = await program.run(fixture('resnet20-v1.onnx'), '-o', other, '--batch', '2');
    expect(loud.code).toBe(0);
    expect(loud.stdout).toMatch(/9 coupled in 1 chain\b/);
    expect(loud.stdout).toContain('resnet20-v1.plan.json');
    expect(loud.stderr).toMatch(/verifying/);
    const quiet = await program.run(
      ...[fixture('resnet20-v1.onnx'), '-o', other, '--batch', '2', '--quiet', '--no-verify'],
    );
    expect(quiet).toMatchObject({ code: 0, stderr: '' });
  });

  test.each(['store', 'recompute'])('policy %s is recorded and used', async (policy) => {
    const at = join(program.folder, policy);
    const result = (await program.json(
      ...[resnet, '-o', at, '--batch', '2', '--no-verify', '--policy', policy],
    )) as { outputs: { plan: string } };
    const plan = JSON.parse(readFileSync(result.outputs.plan, 'utf8')) as {
      assumptions: { policy: string };
      units: { policy: string }[];
    };
    expect(plan.assumptions.policy).toBe(policy);
    expect(plan.units.some((unit) => unit.policy === 'reverse')).toBe(false);
  });
});

describe('inspect', () => {
  test('lists every block of a model', async () => {
    const result = (await program.json('inspect', resnet)) as { blocks: unknown[] };
    expect(shapeOf(result)).toEqual({
      blocks: [
        {
          id: 'string',
          add: 'string',
          coupled: 'boolean',
          code: 'string',
          reason: 'string',
          advice: 'null',
          kind: 'string',
          shape: ['string'],
        },
      ],
      summary: {
        residual: 'number',
        identity: 'number',
        projection: 'number',
        reversible: 'number',
        longestRun: 'number',
      },
    });
    expect(result.blocks).toHaveLength(9);
    expect(result).toMatchObject({
      summary: { residual: 9, identity: 7, projection: 2, longestRun: 3 },
    });
  });

  test('--explain: every Add, decision, reason and advice', async () => {
    // Highway: products with a gate; ordinary blocks around it; a bias.
    const net = new Net();
    const x = net.conv(net.input());
    const gate = net.op('Sigmoid', [net.conv(x)]);
    const rest = net.op('Sub', [net.constant([], 1), gate]);
    const y = net.add(net.op('Mul', [net.conv(x), gate]), net.op('Mul', [x, rest]));
    const biased = net.add(net.block(net.block(y)), net.constant([4, 1, 1]));
    net.model.graph.outputs.push(biased);
    const path = join(program.folder, 'explained.onnx');
    writeModel(net.model, path);
    const { stdout } = await program.run('inspect', path, '--explain', '--quiet');
    const paragraphs = stdout.split('\n\n');
    expect(paragraphs).toHaveLength(5);
    expect(paragraphs[1]).toMatch(/^\w+ {2}coupled \(coupled\)\n {2}Add {3}\S+\n {2}why {3}half-/);
    expect(paragraphs[3]).toMatch(
      /^\w+ {2}no residual block \(gated\)\n {2}Add .*\n {2}why {3}both operands.*\n {2}do {4}a gate/,
    );
    expect(paragraphs[4]).toMatch(/^and 1 Add of a constant/);
    const result = await program.json('inspect', path, '--explain');
    expect(result).toMatchObject({
      blocks: [
        { coupled: true, code: 'coupled', advice: null },
        { coupled: true, code: 'coupled' },
      ],
      others: [
        { code: 'gated', coupled: false, advice: expect.stringMatching(/^a gate/) as string },
        { code: 'constant' },
      ],
    });
  });

  test('rev.onnx is reversible already: the same chains again, verified, and it says so', async () => {
    const again = join(program.folder, 'again');
    const { code, stdout } = await program.run(
      join(dir, 'resnet20.rev.onnx'),
      ...['-o', again, '--batch', '2', '--no-verify'],
    );
    expect(code).toBe(0);
    expect(stdout).toMatch(/9 coupled in 1 chain, 9 of them already reversible$/m);
    expect(stdout).toContain('The network was reversible already');
    const chainsOf = (at: string): unknown =>
      (JSON.parse(readFileSync(join(at, 'resnet20.plan.json'), 'utf8')) as { chains: unknown })
        .chains;
    const [own, first] = [chainsOf(again), chainsOf(dir)] as { couplings: unknown }[][];
    expect(own?.map((c) => c.couplings)).toEqual(first?.map((c) => c.couplings));
    expect(await program.json('verify', again)).toMatchObject({ passed: true });
  });

  test('3: a training step is refused, with the reason', async () => {
    const { code, stderr } = await program.run('inspect', join(dir, 'resnet20.train.onnx'));
    expect(code).toBe(3);
    expect(stderr).toMatch(/^error model\/training: .*\n {2}where: its metadata, revnetify.step\n/);
  });

  test('shows a plan, and with --json the plan itself', async () => {
    const plan = join(dir, 'resnet20.plan.json');
    expect(await program.json('inspect', plan)).toEqual(JSON.parse(readFileSync(plan, 'utf8')));
    const { code, stdout } = await program.run('inspect', plan);
    expect(code).toBe(0);
    expect(stdout).toMatch(/^ {2}recipe +paper \(/m);
  });
});

describe('verify', () => {
  test('prints the documented form', async () => {
    const result = await program.json('verify', dir);
    expect(shapeOf(result)).toEqual(VERIFY);
    expect(result).toMatchObject({ passed: true, reconstruction: { streams: 3 } });
  });

  test('takes --json before the command as well', async () => {
    const { stdout } = await program.run('--json', 'verify', dir);
    expect(JSON.parse(stdout)).toMatchObject({ passed: true });
  });
});

describe('train', () => {
  test('a second thread prepares the same batches', async () => {
    const args = ['--data', 'random', '--steps', '4', '--no-evaluate', '--threads', '1'];
    const at = join(program.folder, 'prefetch');
    cpSync(dir, at, { recursive: true });
    const losses = async (...more: string[]): Promise<unknown> =>
      ((await program.json('train', at, ...args, ...more)) as { losses: unknown }).losses;
    const with_ = await losses();
    expect(with_).toHaveLength(4);
    expect(await losses('--no-prefetch')).toEqual(with_);
  });

  test('--measure prints the documented form and the plan’s own prediction', async () => {
    const result = await program.json('train', dir, '--measure', '--steps', '2');
    expect(shapeOf(result)).toEqual({
      losses: ['number'],
      predicted: MEMORY,
      measured: MEMORY,
      secondsPerStep: 'number',
    });
    const plan = JSON.parse(readFileSync(join(dir, 'resnet20.plan.json'), 'utf8')) as {
      memory: { plan: { peakBytes: number } };
    };
    expect(result).toMatchObject({ predicted: { peakBytes: plan.memory.plan.peakBytes } });
    expect((result as { losses: number[] }).losses).toHaveLength(2);
  });

  test('trains on random data and writes the trained model', async () => {
    const at = join(program.folder, 'trained');
    cpSync(dir, at, { recursive: true });
    const args = ['train', at, '--data', 'random', '--steps', '2', '--no-evaluate'];
    const result = (await program.json(...args)) as { model: string; losses: number[] };
    expect(result).toMatchObject({ steps: 2, interrupted: false });
    expect(result.losses).toHaveLength(2);
    expect(existsSync(result.model)).toBe(true);
    expect(digest(join(at, 'resnet20.rev.onnx'))).toBe(digest(join(dir, 'resnet20.rev.onnx')));
  });

  test('ends with 130 when interrupted, and the model is whole', async () => {
    const at = join(program.folder, 'interrupted');
    cpSync(dir, at, { recursive: true });
    await expectInterrupted(endlessTraining(at, 'SIGINT'));
    expect(readdirSync(at).sort()).toEqual([
      'resnet20.plan.json',
      'resnet20.rev.onnx',
      'resnet20.train.onnx',
      'resnet20.trained.onnx',
    ]);
    expect(await program.json('inspect', join(at, 'resnet20.trained.onnx'))).toBeTruthy();
  });
});

/** A training that gets a signal when it says something for the first time. */
function endlessTraining(at: string, signal: 'SIGINT' | 'SIGKILL'): ChildProcess {
  const args = ['--data', 'random', '--steps', '100000', '--no-evaluate', '--json'];
  const child = program.start('train', at, ...args);
  child.stderr?.once('data', () => child.kill(signal));
  return child;
}

async function expectInterrupted(child: ChildProcess): Promise<void> {
  const { code, stdout } = await finished(child);
  expect(code).toBe(130);
  expect(JSON.parse(stdout)).toMatchObject({ interrupted: true });
}

// Its step runs in a process of its own, which the signal has to reach.
describe('a large training', () => {
  let at: string;
  beforeAll(async () => {
    at = join(program.folder, 'large');
    await program.json(resnet, '-o', at, '--batch', '128', '--no-verify');
    expect(needsMallocEnvironment(readPlan(at).plan)).toBe(true);
  }, HOOK_TIMEOUT);

  test('ends with 130 when interrupted', async () => {
    await expectInterrupted(endlessTraining(at, 'SIGINT'));
  });

  test('ends when the command that was started is killed', async () => {
    const child = endlessTraining(at, 'SIGKILL');
    // Its output stays open as long as any process has it.
    await once(child, 'close');
    expect(child.signalCode).toBe('SIGKILL');
  });
});

test('an interrupted compilation ends with 130 and leaves nothing', async () => {
  const at = join(program.folder, 'never');
  const child = program.start(resnet, '-o', at, '--json');
  child.stderr?.once('data', () => child.kill('SIGINT'));
  const { code, stdout } = await finished(child);
  expect(code).toBe(130);
  expect(JSON.parse(stdout)).toMatchObject({ error: { code: 'interrupted' } });
  expect(existsSync(at)).toBe(false);
});
