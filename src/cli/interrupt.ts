// Ctrl-C. In: SIGINT. Out: exit code 130. Invariant: files are written without a turn of the event loop between
// them, so this handler never runs in the middle of a set of files; what takes longer to stop says so first.

import { EXIT } from '../diagnostics/index.js';
import { jsonError, printJson } from './output.js';

let graceful: (() => void) | undefined;
let passesOn = false;

function onSignal(json: boolean): void {
  const stop = graceful;
  if (!passesOn) graceful = undefined;
  if (stop) {
    stop();
    return;
  }
  process.stderr.write('interrupted\n');
  if (json)
    printJson(jsonError('interrupted', 'the command line', 'SIGINT was received', 'run it again'));
  process.exit(EXIT.interrupted);
}

/** @param json whether the caller expects one JSON object on stdout, whatever happens */
export function handleInterrupts(json: boolean): void {
  process.on('SIGINT', () => {
    onSignal(json);
  });
}

/** Runs a body that every Ctrl-C is passed on to: it ends by itself. */
export async function passingOn<T>(signal: () => void, body: () => Promise<T>): Promise<T> {
  passesOn = true;
  try {
    return await interruptible(signal, body);
  } finally {
    passesOn = false;
  }
}

/** Runs a body that knows how to stop early; a second Ctrl-C ends the process at once. */
export async function interruptible<T>(stop: () => void, body: () => Promise<T>): Promise<T> {
  graceful = stop;
  try {
    return await body();
  } finally {
    graceful = undefined;
  }
}
