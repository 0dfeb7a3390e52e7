// Memory of this process. In: nothing. Out: resident bytes now, and the highest number of them over a stretch of
// time. Invariant: the peak is seen although a step blocks the JavaScript thread: by the kernel's own mark on
// Linux, by a second thread elsewhere.

import { readFileSync, writeFileSync } from 'node:fs';
import { resourceUsage } from 'node:process';
import { setFlagsFromString } from 'node:v8';
import { runInNewContext } from 'node:vm';
import { Worker } from 'node:worker_threads';

const STATUS = '/proc/self/status';
const CLEAR = '/proc/self/clear_refs';
/** Makes the kernel forget the highest resident size (proc(5)). */
const RESET_PEAK = '5';

let collect: (() => void) | undefined;

/** A full garbage collection, whether or not node was started with --expose-gc. */
export function collectGarbage(): void {
  collect ??= startedWithCollector() ?? exposedCollector();
  collect();
}

function startedWithCollector(): (() => void) | undefined {
  const { gc } = globalThis;
  // Its type has a form that returns a promise, which is not the one meant here.
  return (
    gc &&
    ((): void => {
      gc();
    })
  );
}

function exposedCollector(): () => void {
  setFlagsFromString('--expose-gc');
  const gc = runInNewContext('gc') as () => void;
  setFlagsFromString('--no-expose-gc');
  return gc;
}

/** The most this process has had resident since it started. */
export const lifetimePeakBytes = (): number => resourceUsage().maxRSS * 1024;

export interface PeakMeter {
  /** Resident bytes when the meter was started. */
  readonly base: number;
  /** Ends the measurement. @returns the highest number of resident bytes since the start */
  stop(): Promise<number>;
}

/** Starts to watch the resident size of this process. */
export async function startPeakMeter(): Promise<PeakMeter> {
  return kernelMeter() ?? (await samplingMeter());
}

function kernelMeter(): PeakMeter | undefined {
  try {
    writeFileSync(CLEAR, RESET_PEAK);
    const base = statusBytes('VmRSS');
    return { base, stop: () => Promise.resolve(statusBytes('VmHWM')) };
  } catch {
    return undefined;
  }
}

function statusBytes(field: string): number {
  const kib = new RegExp(`^${field}:\\s*(\\d+) kB$`, 'm').exec(readFileSync(STATUS, 'utf8'))?.[1];
  if (kib === undefined) throw new Error(`internal error: ${STATUS} has no ${field}`);
  return Number(kib) * 1024;
}

/** Runs in the second thread; memoryUsage.rss() speaks for the whole process. */
const SAMPLER = `
const { parentPort } = require('node:worker_threads');
let peak = 0;
const timer = setInterval(() => { peak = Math.max(peak, process.memoryUsage.rss()); }, 1);
parentPort.once('message', () => { clearInterval(timer); parentPort.postMessage(peak); });
parentPort.postMessage(0);
`;

/** Exported for its test: Linux normally takes the kernel's mark. */
export async function samplingMeter(): Promise<PeakMeter> {
  const worker = new Worker(SAMPLER, { eval: true });
  await new Promise((resolve) => worker.once('message', resolve));
  const before = lifetimePeakBytes();
  const base = process.memoryUsage.rss();
  return {
    base,
    stop: async () => {
      const sampled = await new Promise<number>((resolve) => {
        worker.once('message', resolve);
        worker.postMessage('stop');
      });
      await worker.terminate();
      // The operating system's own mark is exact where this stretch has raised it.
      const lifetime = lifetimePeakBytes();
      return Math.max(base, sampled, lifetime > before ? lifetime : 0);
    },
  };
}
