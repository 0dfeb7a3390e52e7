// A real training on the command line, killed with SIGKILL again and again: at random moments, before the first step,
// and in the middle of writing a checkpoint. Invariant: the newest checkpoint is always whole, and after the last
// resumption every loss, the log and the trained model equal those of a training nobody disturbed.
// REVNETIFY_SEED=n repeats a run; the seed is printed.

import type { ChildProcess } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, mkdirSync, readFileSync, readdirSync, watch, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { Random } from '../../runtime/data/index.js';
import { readTensors } from '../../runtime/safetensors.js';
import { Program, finished, fixture } from '../cli/program.js';

const KILLS = 10;
const STEPS = 150;
const EVERY = 5;
const BATCH = 4;
const THREADS = 2;
const program = new Program();
const seed = Number(process.env['REVNETIFY_SEED'] ?? Date.now() % 1e6);
const random = new Random(seed);

/** CIFAR-10 in small: enough for crops, flips and several epochs. */
function writeData(folder: string): void {
  mkdirSync(folder);
  const noise = new Random(1);
  const write = (name: string, records: number): void => {
    const bytes = Buffer.alloc(records * 3073);
    for (let at = 0; at < bytes.length; at++)
      bytes[at] = at % 3073 === 0 ? noise.below(10) : noise.below(256);
    writeFileSync(join(folder, name), bytes);
  };
  for (let part = 1; part <= 5; part++) write(`data_batch_${part}.bin`, 30);
  write('test_batch.bin', 30);
}

const steps = (log: string): number =>
  existsSync(log) ? readFileSync(log, 'utf8').split('\n').length - 1 : 0;

type Moment = 'start' | 'step' | 'write';

/** Kills the training at such a moment. @returns what was seen, for the printed protocol */
async function kill(
  child: ChildProcess,
  moment: Moment,
  log: string,
  checkpoints: string,
): Promise<string> {
  const gone = once(child, 'exit');
  const over = (): boolean => child.exitCode !== null || child.signalCode !== null;
  if (moment === 'start') await sleep(random.below(800));
  if (moment === 'step') {
    const wanted = steps(log) + 2 + random.below(12);
    // A resumed log is cut back first, so this is at least as far as it says.
    while (steps(log) < wanted && !over()) await sleep(1);
    await sleep(random.below(40));
  }
  if (moment === 'write') {
    mkdirSync(checkpoints, { recursive: true });
    const delay = random.below(6);
    let writes = 1 + random.below(2);
    const watcher = watch(checkpoints);
    await new Promise<void>((resolve) => {
      watcher.on('change', (_, name) => {
        if (!String(name).endsWith('.tmp') || --writes > 0) return;
        watcher.close();
        resolve();
      });
      void gone.then(() => resolve());
    });
    watcher.close();
    // Not a timer: these are tenths of a millisecond.
    for (const until = performance.now() + delay / 2; performance.now() < until;);
  }
  child.kill('SIGKILL');
  await gone;
  return child.signalCode ?? `exit ${child.exitCode ?? ''}`;
}

test(`killed ${KILLS} times, seed ${seed}`, async () => {
  console.log(`REVNETIFY_SEED=${seed}`);
  const out = join(program.folder, 'out');
  const data = join(program.folder, 'data');
  writeData(data);
  await program.json(fixture('resnet20.onnx'), '-o', out, '--batch', String(BATCH), '--no-verify');
  const args = (log: string, checkpoints: string): string[] => [
    ...['train', out, '--data', data, '--steps', String(STEPS), '--lr', '0.05', '--warmup', '10'],
    ...['--threads', String(THREADS), '--evaluate-every', '20', '--quiet', '--json'],
    ...['--log', log, '--checkpoint-every', String(EVERY), '--checkpoint-dir', checkpoints],
  ];
  const trained = (): Buffer => readFileSync(join(out, 'resnet20.trained.onnx'));

  const wholeLog = join(program.folder, 'whole.jsonl');
  const whole = await program.run(...args(wholeLog, join(program.folder, 'whole')));
  expect(whole.code, whole.stderr).toBe(0);
  const expected = trained();

  const log = join(program.folder, 'log.jsonl');
  const checkpoints = join(program.folder, 'checkpoints');
  // More are added below until one has hit a write.
  const moments: Moment[] = ['start', 'step', 'write', 'step', 'write', 'step', 'write', 'step'];
  while (moments.length < KILLS) moments.push(random.below(2) === 0 ? 'step' : 'write');
  let midWrite = 0;
  for (const [number, moment] of moments.entries()) {
    const child = program.start(...args(log, checkpoints), '--resume');
    const seen = await kill(child, moment, log, checkpoints);
    const files = existsSync(checkpoints) ? readdirSync(checkpoints) : [];
    const left = files.filter((name) => name.endsWith('.tmp')).length;
    const kept = files.filter((name) => name.endsWith('.safetensors'));
    midWrite += Math.min(1, left);
    console.log(
      `kill ${number + 1} (${moment}): ${seen} after ${steps(log)} log lines, ${kept.join(', ') || 'no checkpoint'}${left > 0 ? ', a write cut off' : ''}`,
    );
    expect(seen).toBe('SIGKILL');
    if (number + 1 === moments.length && midWrite === 0 && number < 2 * KILLS)
      moments.push('write');
    // Killed between the rename and the removal of the older one, both are there; both are whole.
    for (const name of kept) readTensors(join(checkpoints, name));
    if (number > 3) expect(kept.length).toBeGreaterThan(0);
  }
  expect(midWrite, 'writes that were cut off').toBeGreaterThan(0);

  const last = await finished(program.start(...args(log, checkpoints), '--resume'));
  expect(last.code, last.stderr).toBe(0);
  const facts = (text: string): { losses: number[]; evaluation: unknown } =>
    JSON.parse(text) as { losses: number[]; evaluation: unknown };
  const [a, b] = [facts(last.stdout), facts(whole.stdout)];
  expect(b.losses).toHaveLength(STEPS);
  expect(a.losses).toEqual(b.losses);
  expect(a.evaluation).toEqual(b.evaluation);
  expect(trained().equals(expected)).toBe(true);
  const rows = (path: string): unknown[] =>
    readFileSync(path, 'utf8')
      .trimEnd()
      .split('\n')
      .map((line) => ({ ...(JSON.parse(line) as object), seconds: 0, waited: 0 }));
  expect(rows(log)).toEqual(rows(wholeLog));
});
