// Runs fuzz cases until the time is over. In: a kind, a first seed, seconds. Out: how many cases ended how, and what went
// wrong. Invariant: the cases run in another process, so that a hang, a crash and a lack of memory are seen from outside;
// whatever goes wrong leaves the model and the command that repeats it in a folder.

import { fork } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { existsSync, mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { makeCase } from './cases.js';
import type { Kind } from './cases.js';
import type { FuzzAnswer } from './worker.js';

const WORKER = 'dist/test/fuzz/worker.js';
/** Seconds a case may take on a busy machine; nearly all take less than 0.1. */
const CASE_SECONDS = 30;
/** Memory a case may take: Node itself, this much, and this many times the file. */
const MEMORY_BYTES = 700e6;
const MEMORY_FACTOR = 30;
/** After so many failures a run has told enough. */
const MOST_FAILURES = 20;
/** Megabytes of the worker's JavaScript heap. */
const HEAP = 600;

export interface FuzzResult {
  readonly cases: number;
  /** ok or code → how many cases ended that way. */
  readonly outcomes: ReadonlyMap<string, number>;
  /** One text per failure. */
  readonly failures: readonly string[];
}

interface Ended extends Partial<FuzzAnswer> {
  /** What the worker died of. */
  readonly died?: string;
}

function ask(worker: ChildProcess, kind: Kind, seed: number): Promise<Ended> {
  return new Promise((resolve) => {
    const end = (result: Ended): void => {
      clearTimeout(timer);
      worker.removeAllListeners();
      resolve(result);
    };
    const timer = setTimeout(() => {
      worker.kill('SIGKILL');
      end({ died: `hang: more than ${CASE_SECONDS} s` });
    }, CASE_SECONDS * 1000);
    worker.once('message', (message) => {
      end(message as FuzzAnswer);
    });
    worker.once('exit', (code, signal) => {
      end({ died: `the process died: ${signal ?? `status ${code ?? 'unknown'}`}` });
    });
    worker.send({ kind, seed });
  });
}

/** What is wrong about how a case ended, if anything. */
function problem({
  died,
  outcome,
  stack,
  peakBytes = 0,
  fileBytes = 0,
}: Ended): string | undefined {
  if (died !== undefined) return died;
  if (outcome === undefined) return stack;
  const limit = MEMORY_BYTES + MEMORY_FACTOR * fileBytes;
  if (peakBytes <= limit) return undefined;
  return `memory: ${(peakBytes / 1e6).toFixed(0)} MB for a file of ${fileBytes} bytes`;
}

/** Keeps the case and says how to see it again. */
function record(folder: string, kind: Kind, seed: number, what: string): string {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, `${kind}-${seed}`);
  writeFileSync(`${path}.onnx`, makeCase(kind, seed).bytes);
  const text = `${what}\n\nagain: node ${WORKER} ${kind} ${seed}\n`;
  writeFileSync(`${path}.txt`, text);
  return `${path}.onnx: ${text}`;
}

const startWorker = (): ChildProcess => {
  if (!existsSync(WORKER)) throw new Error(`${WORKER} is missing: npm run fuzz builds it`);
  return fork(WORKER, [], { execArgv: [`--max-old-space-size=${HEAP}`] });
};

/** Cases of seeds from `seed` on, until the time is over or there were `most`. */
export async function fuzz(
  kind: Kind,
  seed: number,
  seconds: number,
  most: number,
  folder: string,
): Promise<FuzzResult> {
  const end = performance.now() + 1000 * seconds;
  const outcomes = new Map<string, number>();
  const failures: string[] = [];
  let cases = 0;
  let worker = startWorker();
  const goesOn = (): boolean =>
    cases < most && failures.length < MOST_FAILURES && performance.now() < end;
  for (; goesOn(); cases++) {
    const mine = (seed + cases) >>> 0;
    const ended = await ask(worker, kind, mine);
    const wrong = problem(ended);
    const outcome = wrong === undefined ? (ended.outcome ?? '') : 'failed';
    outcomes.set(outcome, (outcomes.get(outcome) ?? 0) + 1);
    if (wrong === undefined) continue;
    failures.push(record(folder, kind, mine, wrong));
    worker.kill('SIGKILL');
    worker = startWorker();
  }
  worker.kill();
  return { cases, outcomes, failures };
}
